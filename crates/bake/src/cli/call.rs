//! The value of `--call`.

/// What `bake build` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Call {
    /// What is done.
    pub method: CallMethod,
    /// How the answer is written.
    pub format: CallFormat,
    /// Whether findings leave the exit code alone.
    pub ignore_status: bool,
}

/// What can be done with a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallMethod {
    /// Build it.
    #[default]
    Build,
    /// Check it.
    Check,
    /// Say what the target takes from outside.
    Outline,
    /// List the stages.
    Targets,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Parses `METHOD[,format=FORMAT][,ignorestatus=BOOL]`, in any order.
pub(super) fn call(text: &str) -> Result<Call, String> {
    let mut call = Call::default();
    for (number, field) in text.split(',').enumerate() {
        match field.split_once('=') {
            Some(("format", "json")) => call.format = CallFormat::Json,
            Some(("format", "text")) => call.format = CallFormat::Text,
            Some(("format", other)) => return Err(format!("`{other}` is no format; there are `json` and `text`")),
            Some(("ignorestatus", value)) => call.ignore_status = super::value::truth(value)?,
            Some(_) => return Err(format!("`{field}` is not format= or ignorestatus=")),
            None if call.method != CallMethod::Build || (number > 0 && field.is_empty()) => {
                return Err(format!("`{field}` is not format= or ignorestatus="));
            }
            None => call.method = method(field)?,
        }
    }
    Ok(call)
}

fn method(name: &str) -> Result<CallMethod, String> {
    match name {
        "" | "build" => Ok(CallMethod::Build),
        "check" | "lint" => Ok(CallMethod::Check),
        "outline" => Ok(CallMethod::Outline),
        "targets" => Ok(CallMethod::Targets),
        _ => Err("there are `build`, `check`, `outline` and `targets`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_take_a_method_and_a_format() {
        let json = Call { method: CallMethod::Outline, format: CallFormat::Json, ignore_status: false };
        assert_eq!(call("outline,format=json"), Ok(json));
        assert_eq!(call("format=json,outline"), Ok(json));
        assert_eq!(call("lint").map(|call| call.method), Ok(CallMethod::Check));
        assert_eq!(call("check,ignorestatus=true").map(|call| call.ignore_status), Ok(true));
        assert_eq!(call("build"), Ok(Call::default()));
        for wrong in ["outlin", "check,targets", "check,", "check,format=xml", "check,x=y", "check,ignorestatus=maybe"]
        {
            assert!(call(wrong).is_err(), "{wrong}");
        }
    }
}
