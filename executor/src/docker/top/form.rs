//! What the options of ps(1) mean, as far as they choose columns. Which processes are shown is not theirs to say here.

use crate::error::CommandError;
use crate::process_columns::Column;

/// What there is instead of an option that is not understood.
const HINT: &str = "there are -ef, aux, and -o FIELDS, as in `docker top CONTAINER -o pid,user,etime,cmd`";

/// The columns that the options ask for.
///
/// # Errors
///
/// An option or a field is not known.
pub(super) fn columns(options: &[String]) -> Result<Vec<Column>, CommandError> {
    let mut chosen: Vec<Column> = Vec::new();
    let mut standard = if options.is_empty() { Column::full() } else { Vec::new() };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let unknown = || CommandError::failed(format!("ps option {option:?} is not known")).hint(HINT);
        if let Some(long) = option.strip_prefix("--") {
            let fields = match long.split_once('=') {
                Some(("format", fields)) => fields,
                None if long == "format" => options.next().ok_or_else(|| no_fields(option))?,
                _ => return Err(unknown()),
            };
            chosen.extend(fields_of(fields)?);
            continue;
        }
        let letters = option.strip_prefix('-').unwrap_or(option);
        let dash = letters.len() < option.len();
        if letters.is_empty() {
            return Err(unknown());
        }
        for (at, letter) in letters.char_indices() {
            match letter {
                // Everything that follows is a list of fields, or the next word is one.
                'o' => {
                    let rest = &letters[at + 1..];
                    let fields = if rest.is_empty() { options.next().ok_or_else(|| no_fields(option))? } else { rest };
                    chosen.extend(fields_of(fields)?);
                    break;
                }
                'f' | 'F' if dash => standard = Column::full(),
                // With a dash it would choose users, but for the form that everybody types.
                'u' if !dash || letters.contains(['a', 'x']) => standard = user_oriented(),
                'e' | 'A' | 'a' | 'x' | 'w' | 'f' => {}
                _ => return Err(unknown()),
            }
        }
        if standard.is_empty() {
            standard = simple(dash);
        }
    }
    Ok(if chosen.is_empty() { standard } else { chosen })
}

fn no_fields(option: &str) -> CommandError {
    CommandError::failed(format!("ps option {option:?} wants a list of fields")).hint(HINT)
}

/// `ps aux`.
fn user_oriented() -> Vec<Column> {
    let names = ["user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "start=START", "time", "args"];
    Column::all(&names)
}

/// `ps -e`, `ps ax`.
fn simple(dash: bool) -> Vec<Column> {
    Column::all(if dash { &["pid", "tty", "time", "comm=CMD"] } else { &["pid", "tty", "stat", "time", "args"] })
}

/// `pid,user=WHO,cmd=`: fields between commas or blanks, with titles of the user's.
fn fields_of(list: &str) -> Result<Vec<Column>, CommandError> {
    let field = |text: &str| {
        let (name, title) = text.split_once('=').map_or((text, None), |(name, title)| (name, Some(title)));
        let unknown = || CommandError::failed(format!("ps field {name:?} is not known")).hint(HINT);
        let column = Column::named(&name.to_lowercase()).ok_or_else(unknown)?;
        Ok(match title {
            Some(title) => column.titled(title),
            None => column,
        })
    };
    list.split([',', ' ']).filter(|text| !text.is_empty() || !list.contains(' ')).map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process_columns;

    fn titles(options: &[&str]) -> Result<String, String> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let columns = columns(&options).map_err(|error| error.chain())?;
        Ok(process_columns::titles(&columns).join(" "))
    }

    #[test]
    fn options_choose_columns() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        for (options, expected) in [
            (&[][..], full),
            (&["-ef"], full),
            (&["aux"], "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            (&["-aux"], "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            (&["-e"], "PID TTY TIME CMD"),
            (&["ax"], "PID TTY STAT TIME COMMAND"),
            (&["-o", "pid,cmd"], "PID CMD"),
            (&["-eo", "pid,comm", "-o", "rss"], "PID COMMAND RSS"),
            (&["-opid user"], "PID USER"),
            (&["o", "PID=ID,args="], "ID "),
            (&["--format=pid"], "PID"),
            (&["--format", "etime"], "ELAPSED"),
        ] {
            assert_eq!(titles(options).as_deref(), Ok(expected), "{options:?}");
        }
        for (options, named) in [
            (&["-Z"][..], "\"-Z\""),
            (&["-u", "root"], "\"-u\""),
            (&["-o"], "\"-o\" wants"),
            (&["-o", "pid,nosuch"], "\"nosuch\""),
            (&["-o", ""], "\"\""),
            (&["-o", "pid,,cmd"], "\"\""),
            (&["-"], "\"-\""),
            (&[""], "\"\""),
            (&["--nosuch"], "\"--nosuch\""),
            (&["-é"], "\"-é\""),
        ] {
            let error = titles(options).unwrap_err();
            assert!(error.contains(named), "{options:?}: {error}");
        }
    }
}
