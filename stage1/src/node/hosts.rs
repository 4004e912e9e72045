//! The /etc/hosts of a pod on a network, which changes while apps read it.
//!
//! The file is mounted, so another one cannot take its place: it is changed as it is, by steps that leave it right at any
//! time. Who comes is added at the end, which readers see when it is written. Who goes is made a comment, by one byte.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// When so many bytes are comments, the file is written anew: those who read it just then may miss a name, once in some
/// thousand pods.
const TOO_MUCH: usize = 64 << 10;

/// What is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edits {
    /// What, and at which byte of the file.
    pub(crate) writes: Vec<(u64, String)>,
    /// How long the file is afterwards, in bytes.
    pub(crate) length: u64,
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Hosts {
    text: String,
    /// The length of what it says of no pod.
    fixed: usize,
    /// The lines of pods, and where they begin.
    lines: BTreeMap<String, usize>,
    /// How many bytes are of pods that have gone.
    dead: usize,
}

impl Hosts {
    /// A file that says this, and ends with a line feed if it says anything.
    pub(super) fn new(text: String) -> Self {
        Self { fixed: text.len(), text, lines: BTreeMap::new(), dead: 0 }
    }

    /// What it says now.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Has it say these lines of pods, each with its line feed, and returns what is to be written for that, if anything.
    pub(super) fn update(&mut self, lines: &[String]) -> Option<Edits> {
        let gone: Vec<String> = self.lines.keys().filter(|line| !lines.contains(line)).cloned().collect();
        let mut writes = Vec::new();
        for line in gone {
            let at = self.lines.remove(&line).unwrap_or_default();
            self.text.replace_range(at..=at, "#");
            self.dead += line.len();
            writes.push((at as u64, "#".to_owned()));
        }
        if self.dead > TOO_MUCH {
            (self.dead, self.lines) = (0, BTreeMap::new());
            self.text.truncate(self.fixed);
            writes = vec![(0, self.text.clone())];
        }
        let end = self.text.len();
        for line in lines.iter().filter(|line| !line.is_empty()) {
            if !self.lines.contains_key(line) {
                self.lines.insert(line.clone(), self.text.len());
                self.text.push_str(line);
            }
        }
        if self.text.len() > end {
            writes.push((end as u64, self.text[end..].to_owned()));
        }
        (!writes.is_empty()).then_some(Edits { writes, length: self.text.len() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file is after the edits.
    fn edited(file: &str, edits: Option<Edits>) -> String {
        let Some(edits) = edits else { return file.to_owned() };
        let mut bytes = file.as_bytes().to_vec();
        for (at, text) in edits.writes {
            let end = (at as usize + text.len()).max(bytes.len());
            bytes.resize(end, b'?');
            bytes[at as usize..at as usize + text.len()].copy_from_slice(text.as_bytes());
        }
        bytes.truncate(edits.length as usize);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn pods_come_and_go() {
        let mut hosts = Hosts::new("127.0.0.1 localhost\n".into());
        let mut file = hosts.text().to_owned();
        let line = |n: usize| format!("10.0.0.{n} pod{n}\n");
        for pods in [vec![2], vec![2, 3], vec![3], vec![], vec![2, 3, 4], vec![4]] {
            let lines: Vec<String> = pods.iter().map(|n| line(*n)).collect();
            file = edited(&file, hosts.update(&lines));
            assert_eq!(file, hosts.text());
            let said: Vec<&str> = file.lines().skip(1).filter(|line| !line.starts_with('#')).collect();
            assert_eq!(said, lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>());
            assert!(file.starts_with("127.0.0.1 localhost\n"));
            assert_eq!(hosts.update(&lines), None, "nothing has changed");
        }
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut hosts = Hosts::new(String::new());
        let mut file = String::new();
        for n in 0..5000 {
            file = edited(&file, hosts.update(&[format!("10.0.0.2 pod-with-a-name-{n}\n")]));
        }
        assert!(file.len() < 2 * TOO_MUCH && file.ends_with("pod-with-a-name-4999\n"), "{}", file.len());
    }
}
