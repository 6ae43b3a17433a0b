//! Networks in CIDR notation.

use std::net::IpAddr;

use super::{Arguments, Outcome};
use crate::value::Value;

/// A network: the bits of its address, how many of them are fixed, and of how many there are.
#[derive(Clone, Copy)]
struct Network {
    bits: u128,
    prefix: u32,
    width: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no network such as 10.1.2.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (bits, width) = address_bits(address).ok_or_else(wrong)?;
        let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= width).ok_or_else(wrong)?;
        let network = Self { bits, prefix, width };
        Ok(Self { bits: bits & network.mask(), ..network })
    }

    /// The fixed bits.
    fn mask(self) -> u128 {
        let all = if self.width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        let free = self.width - self.prefix;
        if free == 128 { 0 } else { all >> free << free }
    }

    /// How many addresses there are, less one.
    fn last(self) -> u128 {
        let free = self.width - self.prefix;
        if free == 128 { u128::MAX } else { (1 << free) - 1 }
    }

    /// The subnet with this number among those with `more` further fixed bits.
    fn subnet(self, more: u32, number: u128) -> Result<Self, String> {
        let prefix = self.prefix + more;
        if prefix > self.width {
            return Err(format!("there are no {more} bits left in a prefix of {}", self.prefix));
        }
        if more < 128 && number >> more != 0 {
            return Err(format!("{number} does not fit into {more} bits"));
        }
        let shift = self.width - prefix;
        let shifted = if shift == 128 { 0 } else { number << shift };
        Ok(Self { bits: self.bits | shifted, prefix, width: self.width })
    }

    fn address(self, bits: u128) -> Value {
        let address = match u32::try_from(bits) {
            Ok(bits) if self.width == 32 => IpAddr::V4(bits.into()),
            _ => IpAddr::V6(bits.into()),
        };
        address.to_string().into()
    }

    fn text(self) -> Value {
        let address = self.address(self.bits).as_text().unwrap_or_default();
        format!("{address}/{}", self.prefix).into()
    }
}

fn address_bits(text: &str) -> Option<(u128, u32)> {
    match text.parse().ok()? {
        IpAddr::V4(address) => Some((u32::from(address).into(), 32)),
        IpAddr::V6(address) => Some((u128::from(address), 128)),
    }
}

/// A negative number counts from the end.
pub(super) fn host(arguments: &Arguments<'_>) -> Outcome {
    let (network, number) = (Network::parse(&arguments.text(0)?)?, arguments.whole(1)?);
    let magnitude = u128::from(number.unsigned_abs());
    let offset = if number < 0 { (network.last() + 1).checked_sub(magnitude) } else { Some(magnitude) };
    match offset.filter(|offset| *offset <= network.last()) {
        Some(offset) => Ok(network.address(network.bits | offset)),
        None => Err(format!("there is no address number {number} in {}", arguments.text(0)?)),
    }
}

pub(super) fn netmask(arguments: &Arguments<'_>) -> Outcome {
    let network = Network::parse(&arguments.text(0)?)?;
    if network.width != 32 {
        return Err("only networks of IPv4 have a netmask".to_owned());
    }
    Ok(network.address(network.mask()))
}

pub(super) fn subnet(arguments: &Arguments<'_>) -> Outcome {
    let network = Network::parse(&arguments.text(0)?)?;
    let more = u32::try_from(arguments.whole(1)?).map_err(|_| "the number of bits is negative".to_owned())?;
    let number = u128::try_from(arguments.whole(2)?).map_err(|_| "the number of the network is negative".to_owned())?;
    Ok(network.subnet(more.min(256), number)?.text())
}

/// Networks one behind the other, each beginning where its size allows.
pub(super) fn subnets(arguments: &Arguments<'_>) -> Outcome {
    let network = Network::parse(&arguments.text(0)?)?;
    let mut found = Vec::new();
    let mut next: u128 = 0;
    for index in arguments.from(1) {
        let more = u32::try_from(arguments.whole(index)?).map_err(|_| "the number of bits is negative".to_owned())?;
        let prefix = network.prefix + more.min(256);
        if prefix > network.width {
            return Err(format!("there are no {more} bits left in a prefix of {}", network.prefix));
        }
        let size = 1_u128.checked_shl(network.width - prefix).ok_or("the network is too large")?;
        let start = next.div_ceil(size) * size;
        if start > network.last() || size - 1 > network.last() - start {
            return Err(format!("there is no room for another network of /{prefix}"));
        }
        found.push(Network { bits: network.bits | start, prefix, width: network.width }.text());
        next = start + size;
    }
    Ok(Value::List(found))
}

/// Whether a network holds an address or another network.
pub(super) fn contains(arguments: &Arguments<'_>) -> Outcome {
    let (network, other) = (Network::parse(&arguments.text(0)?)?, arguments.text(1)?);
    let (bits, prefix, width) = if let Some((bits, width)) = address_bits(&other) {
        (bits, width, width)
    } else {
        let other = Network::parse(&other)?;
        (other.bits, other.prefix, other.width)
    };
    if width != network.width {
        return Err("one is of IPv4, the other of IPv6".to_owned());
    }
    Ok((prefix >= network.prefix && bits & network.mask() == network.bits).into())
}
