//! Instructions of a Dockerfile that change how a container is run, as `--change` takes them.

mod word;

use std::path::Path;

use serde_json::{Value, json};
use stage1::health::Healthcheck;

use crate::duration;
use crate::error::CommandError;
use crate::signal_argument;

/// Changes the section of an image's configuration that says how a container is run.
///
/// # Errors
///
/// The instruction is not known, or makes no sense.
pub(crate) fn apply(section: &mut Value, instruction: &str) -> Result<(), CommandError> {
    let refused = |why: &str| CommandError::usage(format!("--change={instruction:?}: {why}"));
    let (name, rest) = instruction.trim().split_once(char::is_whitespace).ok_or_else(|| refused("it says nothing"))?;
    let rest = rest.trim();
    let known: Vec<String> = environment(section).map(str::to_owned).collect();
    let variable = |name: &str| known.iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    let words = || word::words(rest, &variable).map_err(refused);
    let one = || match words()?.as_slice() {
        [word] if !word.is_empty() => Ok(word.clone()),
        _ => Err(refused("wanted: one word")),
    };
    match name.to_uppercase().as_str() {
        "CMD" => section["Cmd"] = command(rest).map_err(refused)?.into(),
        "ENTRYPOINT" => section["Entrypoint"] = command(rest).map_err(refused)?.into(),
        "USER" => section["User"] = one()?.into(),
        "WORKDIR" => {
            let before = section["WorkingDir"].as_str().filter(|dir| !dir.is_empty()).unwrap_or("/");
            let dir = Path::new(before).join(one()?);
            section["WorkingDir"] = dir.to_string_lossy().into();
        }
        "STOPSIGNAL" => {
            let signal = one()?;
            signal_argument::parse(&signal).map_err(|error| refused(&error.chain()))?;
            section["StopSignal"] = signal.into();
        }
        "EXPOSE" => {
            for port in words()? {
                let port = port_of(&port).ok_or_else(|| refused("wanted: PORT[-PORT][/tcp|/udp|/sctp]"))?;
                section["ExposedPorts"][port] = json!({});
            }
        }
        "VOLUME" => {
            let paths = match list(rest).map_err(refused)? {
                Some(paths) => paths.iter().map(|path| word::one(path.trim(), &variable).map_err(refused)).collect(),
                None => words(),
            }?;
            if paths.is_empty() || paths.iter().any(String::is_empty) {
                return Err(refused("wanted: paths"));
            }
            paths.into_iter().for_each(|path| section["Volumes"][path] = json!({}));
        }
        "LABEL" => {
            for (name, value) in pairs(rest, &variable).map_err(refused)? {
                section["Labels"][name] = value.into();
            }
        }
        "ENV" => {
            let given = pairs(rest, &variable).map_err(refused)?;
            section["Env"] = with_variables(known, given).into();
        }
        "HEALTHCHECK" => {
            let check = healthcheck(rest).map_err(|why| refused(&why))?;
            section["Healthcheck"] = serde_json::to_value(check)?;
        }
        _ => {
            let known = "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR";
            return Err(refused(&format!("known are {known}")));
        }
    }
    Ok(())
}

/// What stands in the section's environment: `NAME=VALUE` each.
fn environment(section: &Value) -> impl Iterator<Item = &str> {
    section["Env"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `NAME=VALUE…`, or the older form of one name and all the rest of the line as its value.
fn pairs(line: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, &'static str> {
    const WANTED: &str = "not of the form NAME=VALUE";
    let pair = |word: &String| {
        let (name, value) = word.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(WANTED)?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let words = word::words(line, variable)?;
    match line.split_once(char::is_whitespace) {
        Some((name, value)) if !name.contains('=') => Ok(vec![(name.to_owned(), word::one(value.trim(), variable)?)]),
        _ if words.is_empty() => Err(WANTED),
        _ => words.iter().map(pair).collect(),
    }
}

/// The variables that are known, and those that are given instead of them or beside them.
fn with_variables(mut known: Vec<String>, given: Vec<(String, String)>) -> Vec<String> {
    for (name, value) in given {
        let prefix = format!("{name}=");
        known.retain(|known| !known.starts_with(&prefix));
        known.push(prefix + &value);
    }
    known
}

/// A port, or a range of ports, as images name it; `None` if they may not.
fn port_of(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    let (numbers, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let is_one =
        ["tcp", "udp", "sctp"].contains(&protocol) && number(first).is_some_and(|first| number(last) >= Some(first));
    is_one.then(|| format!("{numbers}/{protocol}"))
}

/// A list in JSON, or a line for a shell.
fn command(text: &str) -> Result<Vec<String>, &'static str> {
    Ok(list(text)?.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]))
}

/// The strings of a list in JSON; `None` if the text is none.
///
/// # Errors
///
/// There is something else in it.
fn list(text: &str) -> Result<Option<Vec<String>>, &'static str> {
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text) else { return Ok(None) };
    let strings = values.iter().map(|value| value.as_str().map(str::to_owned));
    strings.collect::<Option<_>>().map(Some).ok_or("a list in JSON has strings alone")
}

/// `[--interval=TIME] [--timeout=TIME] [--start-period=TIME] [--start-interval=TIME] [--retries=N] CMD COMMAND`, or `NONE`.
fn healthcheck(text: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or("CMD or NONE is missing")?;
        let (name, value) = option.split_once('=').ok_or_else(|| format!("--{option} has no value"))?;
        let time = || {
            let time = duration::parse(value).map_err(|error| format!("--{option}: {error}"))?;
            u64::try_from(time.as_nanos()).map_err(|_| format!("--{option}: it is too long"))
        };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => check.retries = value.parse().map_err(|_| format!("--{option}: wanted a number"))?,
            _ => return Err(format!("--{name} is not an option of HEALTHCHECK")),
        }
        rest = after.trim_start();
    }
    let (kind, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let line = line.trim();
    check.test = Some(match kind.to_uppercase().as_str() {
        "NONE" if line.is_empty() => vec!["NONE".to_owned()],
        "CMD" if !line.is_empty() => match list(line)? {
            Some(words) => [vec!["CMD".to_owned()], words].concat(),
            None => vec!["CMD-SHELL".to_owned(), line.to_owned()],
        },
        _ => return Err("wanted CMD COMMAND or NONE".to_owned()),
    });
    check.validate().map_err(|error| error.to_string())?;
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut section = json!({ "Env": ["A=1", "B=2"], "ExposedPorts": { "1/tcp": {} } });
        for instruction in [
            "CMD [\"a\", \"b\"]",
            "entrypoint run me",
            "ENV A=3",
            "ENV C 4",
            "ENV G  $C  and \"$A\"",
            "LABEL x=\"y z\"",
            "USER 5",
            "WORKDIR /w",
            "WORKDIR sub",
            "ENV D=$A E=\"x $B\" A=4 F='$A'",
            "LABEL p=1 q='2 3'",
            "EXPOSE 80/TCP 53/udp",
            "VOLUME [\"/data\"]",
            "VOLUME [\"/v$B\", \"/${NO:-v} 3\", \"/'$A'\"]",
            "VOLUME /log /var/x",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=5s --retries=2 CMD curl -f http://localhost/ || exit 1",
        ] {
            apply(&mut section, instruction).unwrap();
        }
        let test = ["CMD-SHELL", "curl -f http://localhost/ || exit 1"];
        assert_eq!(
            section,
            json!({
                "Env": ["B=2", "C=4", "G=4  and 3", "D=3", "E=x 2", "A=4", "F=$A"], "Cmd": ["a", "b"], "Entrypoint": ["/bin/sh", "-c", "run me"],
                "Labels": { "x": "y z", "p": "1", "q": "2 3" }, "User": "5", "WorkingDir": "/w/sub",
                "ExposedPorts": { "1/tcp": {}, "80/tcp": {}, "53/udp": {} },
                "Volumes": { "/data": {}, "/v2": {}, "/v 3": {}, "/$A": {}, "/log": {}, "/var/x": {} }, "StopSignal": "SIGQUIT",
                "Healthcheck": { "Test": test, "Interval": 5_000_000_000_u64, "Retries": 2 },
            })
        );
        apply(&mut section, "HEALTHCHECK CMD [\"/probe\", \"-x\"]").unwrap();
        assert_eq!(section["Healthcheck"], json!({ "Test": ["CMD", "/probe", "-x"] }));
        apply(&mut section, "HEALTHCHECK NONE").unwrap();
        assert_eq!(section["Healthcheck"], json!({ "Test": ["NONE"] }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "",
            "CMD",
            "RUN x",
            "ENV x",
            "STOPSIGNAL SIGNOTHING",
            "EXPOSE 80/foo",
            "EXPOSE 0",
            "ENV A='1",
            "USER a b",
            "VOLUME [\"\"]",
            "VOLUME []",
            "VOLUME [\"/a\", 5]",
            "CMD [\"a\", null]",
            "HEALTHCHECK CMD [5]",
            "VOLUME [\"/${A\"]",
            "HEALTHCHECK curl",
            "HEALTHCHECK --interval=1us CMD x",
            "HEALTHCHECK --interval CMD x",
            "HEALTHCHECK --pause=1s CMD x",
            "HEALTHCHECK --interval=1s",
            "HEALTHCHECK CMD []",
        ] {
            assert!(apply(&mut json!({}), bad).is_err(), "{bad}");
        }
    }
}
