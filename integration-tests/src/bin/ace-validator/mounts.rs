//! What /proc/self/mountinfo says of a volume.

use super::Errors;

/// `path` is a mount point, and writable. Every line of the table must have the form that proc(5) gives it.
pub(crate) fn writable(path: &str) -> Errors {
    let table = match std::fs::read_to_string("/proc/self/mountinfo") {
        Ok(table) => table,
        Err(error) => return vec![format!("could not load mountinfo: {error}")],
    };
    let mut found = None;
    for line in table.lines() {
        let Some((point, options)) = parse(line) else {
            return vec![format!("could not parse mountinfo line {line:?}")];
        };
        // The last one is on top.
        if point == path {
            found = Some(options.split(',').any(|option| option == "ro"));
        }
    }
    match found {
        None => vec![format!("{path:?} is not a mount point")],
        Some(true) => vec![format!("{path:?} mounted ro=true, want false")],
        Some(false) => Errors::new(),
    }
}

/// Mount point and options: fields 5 and 6, after two numbers, a device and a root.
fn parse(line: &str) -> Option<(&str, &str)> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [id, parent, _device, _root, point, options, ..] = fields.as_slice() else { return None };
    id.parse::<u32>().ok()?;
    parent.parse::<u32>().ok()?;
    Some((point, options))
}
