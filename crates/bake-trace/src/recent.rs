//! The few things that were used last.

/// At most `N` values by number; the one that was not used for the longest time goes first.
#[derive(Debug)]
pub(crate) struct Recent<T, const N: usize> {
    /// The last one used is the last.
    values: Vec<(u64, T)>,
}

impl<T, const N: usize> Recent<T, N> {
    pub(crate) fn new() -> Self {
        Self { values: Vec::with_capacity(N) }
    }

    /// The value with this number, made if it is not there.
    pub(crate) fn get_or<E>(&mut self, number: u64, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let value = match self.values.iter().rposition(|(other, _)| *other == number) {
            Some(place) => self.values.remove(place).1,
            None => make()?,
        };
        if self.values.len() >= N {
            self.values.remove(0);
        }
        Ok(&self.values.push_mut((number, value)).1)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let mut recent = Recent::<u64, 2>::new();
        let mut made = Vec::new();
        for number in [1, 2, 1, 3, 1, 2] {
            let value = recent.get_or(number, || {
                made.push(number);
                Ok::<_, Infallible>(number * 10)
            });
            assert_eq!(value, Ok(&(number * 10)));
        }
        assert_eq!(made, [1, 2, 3, 2]);
    }
}
