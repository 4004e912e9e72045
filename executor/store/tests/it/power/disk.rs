//! A disk that keeps what was synced, and of the rest what it likes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::trace::Call;

type Inode = usize;

/// One change of one thing that a disk keeps: an entry of a directory, or the content of a file.
#[derive(Clone, Debug)]
enum Change {
    /// An entry comes into being, or another inode gets its name.
    Set { dir: Inode, name: String, inode: Inode },
    /// A rename: both entries at once, as file systems promise.
    Move { from: (Inode, String), to: (Inode, String), inode: Inode },
    /// An entry goes.
    Unset { dir: Inode, name: String },
    /// A file has this content now.
    Content { file: Inode, bytes: Vec<u8> },
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Dir,
    File,
    Other,
}

/// What a process did, as changes of a disk, and when which of them became durable.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    kinds: Vec<Kind>,
    /// What a process that looks sees.
    entries: BTreeMap<(Inode, String), Inode>,
    contents: BTreeMap<Inode, Vec<u8>>,
    changes: Vec<Change>,
    /// For each change the step at which it became durable.
    durable: Vec<Option<usize>>,
    /// For each step how many changes there were before it.
    steps: Vec<usize>,
    /// What was said, and at which step.
    said: Vec<(usize, String)>,
}

impl Disk {
    /// Plays what a process did in an empty directory.
    pub(crate) fn play(calls: &[Call]) -> Self {
        let mut disk = Self { kinds: vec![Kind::Dir], ..Self::default() };
        for call in calls {
            disk.step(call);
            disk.steps.push(disk.changes.len());
        }
        disk
    }

    /// How many steps there are to lose power after.
    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// What was said by the end of a step.
    pub(crate) fn said(&self, step: usize) -> Vec<String> {
        self.said.iter().filter(|(at, _)| *at <= step).map(|(_, line)| line.clone()).collect()
    }

    /// The changes that a power cut after `step` may take back.
    pub(crate) fn at_risk(&self, step: usize) -> Vec<usize> {
        let lasting = |change: &usize| self.durable[*change].is_none_or(|at| at > step);
        (0..self.steps[step]).filter(lasting).collect()
    }

    /// Writes what a disk has after a power cut that came after `step` and took `lost` back. What is lost of a file's
    /// content leaves its first half if `torn`, else nothing.
    pub(crate) fn write(&self, step: usize, lost: &[usize], torn: bool, to: &Path) {
        let mut entries: BTreeMap<(Inode, String), Inode> = BTreeMap::new();
        let mut contents: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
        for (number, change) in self.changes[..self.steps[step]].iter().enumerate() {
            let is_lost = lost.contains(&number);
            match change {
                Change::Content { file, bytes } if is_lost => {
                    if torn {
                        contents.insert(*file, bytes[..bytes.len() / 2].to_vec());
                    }
                }
                Change::Content { file, bytes } => drop(contents.insert(*file, bytes.clone())),
                _ if is_lost => {}
                Change::Set { dir, name, inode } => drop(entries.insert((*dir, name.clone()), *inode)),
                Change::Unset { dir, name } => drop(entries.remove(&(*dir, name.clone()))),
                Change::Move { from, to, inode } => {
                    entries.remove(from);
                    entries.insert(to.clone(), *inode);
                }
            }
        }
        let mut made = BTreeMap::new();
        self.write_dir(0, &entries, &contents, to, &mut made);
    }

    fn write_dir(
        &self,
        dir: Inode,
        entries: &BTreeMap<(Inode, String), Inode>,
        contents: &BTreeMap<Inode, Vec<u8>>,
        to: &Path,
        made: &mut BTreeMap<Inode, std::path::PathBuf>,
    ) {
        let of_dir = entries.range((dir, String::new())..(dir + 1, String::new()));
        for ((_, name), &inode) in of_dir {
            let path = to.join(name);
            if let Some(first) = made.get(&inode) {
                fs::hard_link(first, &path).unwrap();
                continue;
            }
            match self.kinds[inode] {
                Kind::Dir => {
                    fs::create_dir(&path).unwrap();
                    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
                    self.write_dir(inode, entries, contents, &path, made);
                }
                Kind::File => fs::write(&path, contents.get(&inode).map_or(&[][..], Vec::as_slice)).unwrap(),
                Kind::Other => std::os::unix::fs::symlink("something", &path).unwrap(),
            }
            if self.kinds[inode] != Kind::Dir {
                made.insert(inode, path);
            }
        }
    }

    fn step(&mut self, call: &Call) {
        match call {
            Call::MakeDir(path) => self.make(path, Kind::Dir),
            Call::MakeOther(path) => self.make(path, Kind::Other),
            Call::MakeFile(path) => match self.find(path) {
                // Opened again: a lock.
                Some(_) => {}
                None => self.make(path, Kind::File),
            },
            Call::Link { from, to } => {
                let inode = self.find(from).expect("it was there");
                self.set(to, inode);
            }
            Call::Rename { from, to } => {
                let inode = self.find(from).expect("it was there");
                let (from, to) = (self.place(from), self.place(to));
                self.entries.remove(&from);
                self.entries.insert(to.clone(), inode);
                self.change(Change::Move { from, to, inode });
            }
            Call::Remove(path) => {
                let (dir, name) = self.place(path);
                self.entries.remove(&(dir, name.clone())).expect("it was there");
                self.change(Change::Unset { dir, name });
            }
            Call::Append { path, bytes } => {
                let file = self.find(path).expect("it was there");
                let content = self.contents.entry(file).or_default();
                content.extend_from_slice(bytes);
                let bytes = content.clone();
                self.change(Change::Content { file, bytes });
            }
            Call::Resize { path, size } => {
                let file = self.find(path).expect("it was there");
                let content = self.contents.entry(file).or_default();
                content.resize(*size, 0);
                let bytes = content.clone();
                self.change(Change::Content { file, bytes });
            }
            Call::Sync(path) => {
                let synced = self.find(path).expect("it was there");
                self.settle(|change| match change {
                    Change::Content { file, .. } => *file == synced,
                    Change::Set { dir, .. } | Change::Unset { dir, .. } => *dir == synced,
                    // Both directories have to be: until then a file system may show either.
                    Change::Move { to, .. } => to.0 == synced,
                });
            }
            Call::SyncAll => self.settle(|_| true),
            Call::Say(line) => self.said.push((self.steps.len(), line.clone())),
        }
    }

    fn make(&mut self, path: &str, kind: Kind) {
        self.kinds.push(kind);
        self.set(path, self.kinds.len() - 1);
    }

    fn set(&mut self, path: &str, inode: Inode) {
        let (dir, name) = self.place(path);
        self.entries.insert((dir, name.clone()), inode);
        self.change(Change::Set { dir, name, inode });
    }

    fn change(&mut self, change: Change) {
        self.changes.push(change);
        self.durable.push(None);
    }

    fn settle(&mut self, which: impl Fn(&Change) -> bool) {
        let step = self.steps.len();
        for (change, durable) in self.changes.iter().zip(&mut self.durable) {
            if durable.is_none() && which(change) {
                *durable = Some(step);
            }
        }
    }

    fn find(&self, path: &str) -> Option<Inode> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(0, |dir, name| self.entries.get(&(dir, name.to_owned())).copied())
    }

    /// The directory that has a path, and its name there.
    fn place(&self, path: &str) -> (Inode, String) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(parent).unwrap_or_else(|| panic!("no directory for {path}")), name.to_owned())
    }
}
