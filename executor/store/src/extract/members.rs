//! Puts members into the tree: where each goes, what it may be, and what is remembered of it.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::below;
use super::content::{Regions, hollow, write_all, write_sparse};
use super::directories::{Attributes, Directories};
use super::error::{ExtractError, Fault};
use super::owners::Owner;
use super::path::EntryPath;
use super::paths::Paths;
use super::reader::{Member, MemberKind, MemberReader};
use super::tree::{Tree, permissions, refused};
use super::xattrs::Kept;
use super::{ExtractOptions, Extracted, Form};
use crate::recipe::Recorder;
use crate::shown::Shown;

/// The prefix of names that hide a name of the lower layers.
const WHITEOUT: &[u8] = b".wh.";

/// An extraction under way.
pub(super) struct Extraction<'a> {
    options: &'a ExtractOptions,
    recorder: Option<&'a Recorder>,
    tree: Tree<'a>,
    directories: Directories,
    xattr_budget: usize,
    root_seen: bool,
    /// Device nodes that are not there, because hard links to them are none either.
    devices: Paths,
    done: Extracted,
}

impl<'a> Extraction<'a> {
    /// Begins in the empty directory `root`.
    pub(super) fn new(
        root: BorrowedFd<'_>,
        options: &'a ExtractOptions,
        recorder: Option<&'a Recorder>,
    ) -> Result<Self, ExtractError> {
        let tree = Tree::open(root, options.form == Form::OciLayer, !options.single_id, recorder)?;
        let mut directories = Directories::new(options.limits.remembered);
        directories.remember(b"", Attributes::IMPLICIT)?;
        Ok(Self {
            options,
            recorder,
            tree,
            directories,
            xattr_budget: options.limits.xattrs_total,
            root_seen: false,
            devices: Paths::default(),
            done: Extracted::default(),
        })
    }

    /// Routes one member: the manifest, a whiteout, or something for the tree.
    pub(super) fn member(&mut self, member: Member, data: &mut dyn MemberReader) -> Result<(), ExtractError> {
        self.done.entries += 1;
        if self.done.entries > self.options.limits.entries {
            return Err(ExtractError::Limit { what: "entries".to_owned(), limit: self.options.limits.entries });
        }
        let refuse = |fault| refused(&member.name, fault);
        let parsed = EntryPath::parse(&member.name, &self.options.limits).map_err(refuse)?;
        if parsed.trailing_slash && member.kind != MemberKind::Directory {
            return Err(refuse(if parsed.path.is_root() { Fault::Root } else { Fault::TrailingSlash }));
        }
        match self.options.form {
            Form::Aci => {
                if parsed.path.as_bytes() == b"manifest" {
                    return self.manifest(&member, data);
                }
                match parsed.path.strip_first(b"rootfs") {
                    Some(below) => self.place(member, &below, data),
                    // `tar -C dir .` begins with the directory itself.
                    None if parsed.path.is_root() && member.kind == MemberKind::Directory => Ok(()),
                    None => Err(refuse(Fault::OutsideRootfs)),
                }
            }
            Form::OciLayer => {
                let (parent, name) = parsed.path.split();
                if parent.split(|&b| b == b'/').any(|component| component.starts_with(WHITEOUT)) {
                    return Err(refuse(Fault::WhiteoutParent));
                }
                match name.strip_prefix(WHITEOUT) {
                    Some(hidden) => self.whiteout(&member, &parsed.path, hidden),
                    None => self.place(member, &parsed.path, data),
                }
            }
        }
    }

    /// Captures the manifest of an ACI.
    fn manifest(&mut self, member: &Member, data: &mut dyn MemberReader) -> Result<(), ExtractError> {
        let refuse = |fault| Err(refused(&member.name, fault));
        if member.kind != MemberKind::File {
            return refuse(Fault::ManifestKind);
        }
        if self.done.manifest.is_some() {
            return refuse(Fault::SecondManifest);
        }
        if member.size > self.options.limits.manifest as u64 {
            return refuse(Fault::ManifestSize(self.options.limits.manifest as u64));
        }
        let mut bytes = Vec::new();
        data.data(member.size, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        match String::from_utf8(bytes) {
            Ok(text) => self.done.manifest = Some(text),
            Err(_) => return refuse(Fault::ManifestText),
        }
        Ok(())
    }

    /// `.wh.NAME` hides NAME of the lower layers, `.wh..wh..opq` everything they have in its directory
    /// (image-spec layer.md, Whiteouts). Other names that begin with `.wh..wh.` are AUFS's own bookkeeping.
    fn whiteout(&mut self, member: &Member, path: &EntryPath, hidden: &[u8]) -> Result<(), ExtractError> {
        let refuse = |fault| Err(refused(&member.name, fault));
        if !matches!(member.kind, MemberKind::File | MemberKind::HardLink(_)) {
            return refuse(Fault::Whiteout(Shown::new(hidden)));
        }
        match hidden {
            b".wh..opq" => self.tree.opaque(&path.parent())?,
            b"" | b"." | b".." => return refuse(Fault::Whiteout(Shown::new(hidden))),
            aufs if aufs.starts_with(WHITEOUT) => {
                self.done.warnings.add("bookkeeping of AUFS is left out", &member.name);
            }
            _ => self.tree.whiteout(&path.with_name(hidden))?,
        }
        self.remember_made()
    }

    /// Puts a member into the tree, in place of what had its name.
    fn place(&mut self, mut member: Member, path: &EntryPath, data: &mut dyn MemberReader) -> Result<(), ExtractError> {
        let name = member.name.clone();
        let refuse = |fault| Err(refused(&name, fault));
        if path.is_root() {
            if member.kind != MemberKind::Directory {
                return refuse(Fault::Root);
            }
            self.root_seen = true;
        }
        if let MemberKind::Unknown(flag) = member.kind {
            return refuse(Fault::UnknownType(flag));
        }
        let carries_data = matches!(member.kind, MemberKind::File | MemberKind::Sparse(..));
        if !carries_data && member.size != 0 {
            // Readers differ on whether data follows such an entry.
            return refuse(Fault::Data(member.size));
        }
        let attributes = self.attributes(&member, path)?;
        let xattrs = Kept::choose(
            &name,
            std::mem::take(&mut member.xattrs),
            &self.options.limits,
            &mut self.xattr_budget,
            &mut self.done.warnings,
        )?;
        let replaced = match &member.kind {
            MemberKind::File | MemberKind::Sparse(..) => self.file(&member, path, &attributes, &xattrs, data)?,
            MemberKind::Directory => self.directory(&name, path, attributes, &xattrs)?,
            MemberKind::Symlink(target) => {
                if target.is_empty() || target.len() >= self.options.limits.path || target.contains(&0) {
                    return refuse(Fault::LinkTarget);
                }
                self.no_xattrs(&name, &xattrs);
                self.tree.symlink(path, target, &attributes)?
            }
            MemberKind::Fifo => {
                self.no_xattrs(&name, &xattrs);
                self.tree.fifo(path, &attributes)?
            }
            MemberKind::HardLink(target) => return self.hard_link(&name, path, target),
            MemberKind::Device | MemberKind::Unknown(_) => return self.skip_device(&name, path),
        };
        self.remember_made()?;
        if replaced {
            self.done.owners.forget_tree(path.as_bytes());
        }
        self.remember_owner(&member, path)
    }

    fn skip_device(&mut self, name: &[u8], path: &EntryPath) -> Result<(), ExtractError> {
        self.done.warnings.add("device nodes are skipped", name);
        self.devices.insert(path.as_bytes(), "names of device nodes", self.options.limits.remembered)
    }

    /// Owner, mode and time to set. In single-id mode a set-user-id bit would hand out the wrong user, so it is left out.
    fn attributes(&self, member: &Member, path: &EntryPath) -> Result<Attributes, ExtractError> {
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let (Some(uid), Some(gid)) = (id(member.uid), id(member.gid)) else {
            let fault = Fault::OwnerRange { uid: member.uid, gid: member.gid };
            return Err(refused(path.as_bytes(), fault));
        };
        let mut mode = member.mode;
        if self.options.single_id && member.kind != MemberKind::Directory {
            if uid != 0 {
                mode &= !0o4000;
            }
            if gid != 0 {
                mode &= !0o2000;
            }
        }
        Ok(Attributes { uid, gid, mode, mtime: member.mtime, implied: false })
    }

    fn remember_owner(&mut self, member: &Member, path: &EntryPath) -> Result<(), ExtractError> {
        if !self.options.single_id {
            return Ok(());
        }
        let (uid, gid) = (member.uid as u32, member.gid as u32);
        let stripped = member.kind != MemberKind::Directory
            && (member.mode & 0o4000 != 0 && uid != 0 || member.mode & 0o2000 != 0 && gid != 0);
        let owner = Owner { uid, gid, mode: stripped.then_some(member.mode) };
        let owner = ((uid, gid) != (0, 0)).then_some(owner);
        self.done.owners.set(path.as_bytes(), owner, self.options.limits.remembered)
    }

    fn no_xattrs(&mut self, name: &[u8], xattrs: &Kept) {
        if !xattrs.is_empty() {
            // user(7): user attributes are allowed on files and directories only.
            self.done.warnings.add("extended attributes of links and pipes are left out", name);
        }
    }

    fn directory(
        &mut self,
        name: &[u8],
        path: &EntryPath,
        attributes: Attributes,
        xattrs: &Kept,
    ) -> Result<bool, ExtractError> {
        let replaced = self.tree.ensure_directory(path, attributes.mode)?;
        if !xattrs.is_empty()
            && let Some(dir) = self.tree.directory(path.as_bytes())?
        {
            xattrs.set_user(&dir, name, &mut self.done.warnings)?;
        }
        // Parents first: what an entry says about a directory counts more than that it had to be made.
        self.remember_made()?;
        self.directories.remember(path.as_bytes(), attributes)?;
        Ok(replaced)
    }

    fn file(
        &mut self,
        member: &Member,
        path: &EntryPath,
        attributes: &Attributes,
        xattrs: &Kept,
        data: &mut dyn MemberReader,
    ) -> Result<bool, ExtractError> {
        let name = &member.name;
        let size = match &member.kind {
            MemberKind::Sparse(_, size) => *size,
            _ => member.size,
        };
        // Before anything is written: a header may promise 8 EiB.
        self.done.content = self.done.content.saturating_add(size);
        if self.done.content > self.options.limits.expanded {
            let what = "bytes of files".to_owned();
            return Err(ExtractError::Limit { what, limit: self.options.limits.expanded });
        }
        // A file that gets attributes has to be writable for that.
        let mode = if xattrs.is_empty() { permissions(attributes.mode) } else { Mode::RUSR | Mode::WUSR };
        let (file, replaced) = self.tree.create_file(path, mode)?;
        match &member.kind {
            _ if self.options.hollow => {
                data.data(member.size, &mut |_| Ok(()))?;
                hollow(&file, name, size)?;
            }
            MemberKind::Sparse(map, size) => {
                let map = Regions { path, map, size: *size, recorder: self.recorder };
                write_sparse(&file, member, &map, data)?;
            }
            _ => {
                self.recorder.inspect(|recorder| recorder.begin(path.as_bytes(), 0));
                data.data(member.size, &mut |piece| write_all(&file, name, piece))?;
                self.recorder.inspect(|recorder| recorder.end());
            }
        }
        xattrs.set_user(&file, name, &mut self.done.warnings)?;
        let stat = self.tree.set_owner(&file, name, attributes)?;
        xattrs.set_capability(&file, name, &mut self.done.warnings);
        self.tree.set_mode_and_time(&file, name, attributes, &stat)?;
        Ok(replaced)
    }

    /// A hard link has owner, mode and time of what it links to, whatever its header says.
    fn hard_link(&mut self, name: &[u8], path: &EntryPath, target: &[u8]) -> Result<(), ExtractError> {
        let refuse = |fault| refused(name, fault);
        let parsed = EntryPath::parse(target, &self.options.limits)
            .map_err(|fault| refuse(Fault::HardLinkName(Box::new(fault))))?;
        let target = match self.options.form {
            Form::Aci => parsed
                .path
                .strip_first(b"rootfs")
                .ok_or_else(|| refuse(Fault::HardLinkName(Box::new(Fault::OutsideRootfs))))?,
            Form::OciLayer => parsed.path,
        };
        if target.is_within(path.as_bytes()) {
            return Err(refuse(Fault::HardLinkSelf));
        }
        match self.tree.stat(&target)? {
            None if self.devices.contains(target.as_bytes()) => return self.skip_device(name, path),
            None => return Err(refuse(Fault::HardLinkMissing(Shown::new(target.as_bytes())))),
            Some((_, FileType::RegularFile | FileType::Symlink | FileType::Fifo)) => {}
            Some(_) => return Err(refuse(Fault::HardLinkKind(Shown::new(target.as_bytes())))),
        }
        let replaced = self.tree.hard_link(path, &target)?;
        self.remember_made()?;
        if replaced {
            self.done.owners.forget_tree(path.as_bytes());
        }
        let owner = self.done.owners.get(target.as_bytes());
        self.done.owners.set(path.as_bytes(), owner, self.options.limits.remembered)
    }

    fn remember_made(&mut self) -> Result<(), ExtractError> {
        for path in self.tree.take_made() {
            self.directories.remember(&path, Attributes::IMPLICIT)?;
        }
        Ok(())
    }

    /// Gives the directories their final attributes.
    pub(super) fn finish(mut self) -> Result<Extracted, ExtractError> {
        if self.options.form == Form::Aci {
            if self.done.manifest.is_none() {
                return Err(ExtractError::NoManifest);
            }
            if !self.root_seen && self.done.entries < 2 {
                return Err(ExtractError::NoRootfs);
            }
        }
        for (path, mut attributes) in self.directories.deepest_first() {
            // It may have been replaced by something else since.
            let Some(dir) = self.tree.directory(&path)? else { continue };
            if attributes.implied && !path.is_empty() && self.options.form == Form::Aci {
                self.done.implied.insert(&path, "implied directories", self.options.limits.remembered)?;
            }
            if attributes.implied && !path.is_empty() && !self.options.below.is_empty() {
                self.done.leans_on_below = true;
                let found = self.options.below.wait().and_then(|below| below::look_up(below, &path));
                let failed = |errno: Errno| ExtractError::System {
                    entry: Shown::new(&path),
                    call: "openat2".to_owned(),
                    errno: errno.into(),
                };
                if let Some((found, owner)) = found.map_err(failed)? {
                    attributes = found;
                    let owner = owner.filter(|_| self.options.single_id);
                    self.done.owners.set(&path, owner, self.options.limits.remembered)?;
                }
            }
            self.tree.set(&dir, &path, &attributes)?;
        }
        Ok(self.done)
    }
}
