//! `--mount`: `type=bind,source=PATH,target=PATH[,readonly]` and what else docker has there.

use super::scratch::{Scratch, octal};
use super::{Source, Wanted, is_propagation, source_of};
use crate::diagnostics::warn;
use crate::docker::{labels, limit_option};
use crate::error::CommandError;
use crate::named_volumes::Labels;

/// What the fields say.
#[derive(Debug, Default)]
struct Fields {
    kind: String,
    source: String,
    target: String,
    read_only: bool,
    no_copy: bool,
    labels: Labels,
    scratch: Scratch,
    /// Options of one type of mount alone, by its name.
    of: Vec<&'static str>,
}

/// A mount as it was asked for.
///
/// # Errors
///
/// A field is none, or not of this type of mount.
pub(super) fn parse(text: &str) -> Result<Wanted, CommandError> {
    let invalid = |why: String| CommandError::usage(format!("invalid argument {text:?} for \"--mount\" flag: {why}"));
    let mut fields = Fields { kind: "volume".to_owned(), ..Fields::default() };
    for field in split(text).ok_or_else(|| invalid("a quotation mark is not closed".to_owned()))? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        fields.take(text, key, value).map_err(invalid)?;
    }
    let Fields { kind, source, target, read_only, no_copy, labels, scratch, of } = fields;
    if target.is_empty() {
        return Err(invalid("target is required".to_owned()));
    }
    if let Some(other) = of.into_iter().find(|other| *other != kind) {
        return Err(invalid(format!("cannot mix '{other}-*' options with mount type '{kind}'")));
    }
    let source = match kind.as_str() {
        "bind" if source.starts_with(['/', '.']) => source_of(&source)?,
        "bind" => return Err(invalid("the source of a bind mount is an absolute path".to_owned())),
        "volume" if source.is_empty() => Source::Empty,
        "volume" => source_of(&source)?,
        "tmpfs" if source.is_empty() => Source::Scratch(scratch),
        "tmpfs" => return Err(invalid("a tmpfs has no source".to_owned())),
        _ => return Err(invalid(format!("mount type {kind:?} is not supported here"))),
    };
    Ok(Wanted { source, target, read_only, copies: !no_copy, labels })
}

impl Fields {
    fn take(&mut self, text: &str, key: &str, value: &str) -> Result<(), String> {
        let is_true = !matches!(value, "false" | "0");
        let kinds = ["tmpfs", "volume"].into_iter();
        self.of.extend(kinds.filter(|kind| key.strip_prefix(kind).is_some_and(|rest| rest.starts_with('-'))));
        match key {
            "type" => value.clone_into(&mut self.kind),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "destination" | "dst" => value.clone_into(&mut self.target),
            "readonly" | "ro" => self.read_only = is_true,
            "tmpfs-mode" => {
                self.scratch.mode = octal(value).ok_or_else(|| format!("invalid value for tmpfs-mode: {value}"))?;
            }
            "tmpfs-size" => {
                let bytes = limit_option::bytes("tmpfs-size", value, "0").map_err(|error| error.chain())?;
                self.scratch.bound(bytes.unwrap_or(0));
            }
            "bind-propagation" if is_propagation(&format!("--mount {text}"), value) => {}
            // Of others.
            "consistency" => {}
            "volume-nocopy" => self.no_copy = is_true,
            "volume-label" if !value.is_empty() && !value.starts_with('=') => {
                self.labels.append(&mut labels(&[value.to_owned()]));
            }
            "volume-driver" if value == "local" => {}
            "volume-driver" => return Err(format!("volume-driver {value}: there is local")),
            "volume-opt" => warn(&format!("--mount {text}: {key}={value} is not held")),
            _ => return Err(format!("unexpected key '{key}'")),
        }
        Ok(())
    }
}

/// The fields between commas, of which those in quotation marks may have some; `None` if such a mark is left open.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: Result<Wanted, CommandError>) -> String {
        let Wanted { source, target, read_only, copies, labels } = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return error.chain(),
        };
        let labels: String = labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{source:?} {target} {read_only}{}{labels}", if copies { "" } else { " nocopy" })
    }

    #[test]
    fn fields_of_mounts() {
        for (text, expected) in [
            ("type=bind,source=/a,target=/b,readonly", "Host(\"/a\") /b true"),
            ("type=bind,src=/a,dst=/b", "Host(\"/a\") /b false"),
            ("source=data,target=/b", "Named(\"data\") /b false"),
            ("source=data,target=/b,volume-nocopy", "Named(\"data\") /b false nocopy"),
            ("type=tmpfs,destination=/b", "Scratch(1777 0:0 noexec) /b false"),
            ("type=tmpfs,dst=/b,tmpfs-mode=700,ro", "Scratch(700 0:0 noexec) /b true"),
            ("type=tmpfs,dst=/b,tmpfs-size=2m", "Scratch(1777 0:0 noexec,size=2097152) /b false"),
            ("src=data,dst=/b,volume-label=tier=db,volume-label=kept", "Named(\"data\") /b false kept= tier=db"),
            ("src=data,dst=/b,\"volume-label=a=b,c\"", "Named(\"data\") /b false a=b,c"),
            ("type=tmpfs,dst=/b,tmpfs-size=0", "Scratch(1777 0:0 noexec) /b false"),
        ] {
            assert_eq!(shown(parse(text)), expected);
        }
        for bad in [
            "type=bind,target=/b",
            "type=bind,source=a,target=/b",
            "type=x,target=/b",
            "source=a",
            "target=/b,nonsense=1",
            "type=bind,source=/a,target=/b,volume-label=a",
            "source=data,target=/b,volume-driver=nfs",
            "source=data,target=/b,\"volume-label=a",
            "target=/b,tmpfs-mode=7",
            "type=tmpfs,target=/b,tmpfs-mode=9",
            "type=tmpfs,target=/b,tmpfs-size=x",
            "type=tmpfs,target=/b,tmpfs-size=-1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
