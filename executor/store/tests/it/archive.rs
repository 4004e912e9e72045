//! Builds tar archives byte by byte, the broken ones too.

/// A member's header fields; `Default` is an empty regular file of root.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: u64,
    /// What the header claims, where that is not the length of `data`.
    pub(crate) size: Option<u64>,
    pub(crate) link: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Default for Entry {
    fn default() -> Self {
        let empty = Vec::new();
        Self {
            name: empty.clone(),
            kind: b'0',
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            size: None,
            link: empty.clone(),
            data: empty,
        }
    }
}

impl Entry {
    pub(crate) fn new(name: impl AsRef<[u8]>, kind: u8) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self { name: name.as_ref().to_vec(), kind, mode, ..Self::default() }
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub(crate) fn data(mut self, data: impl AsRef<[u8]>) -> Self {
        self.data = data.as_ref().to_vec();
        self
    }

    pub(crate) fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    pub(crate) fn link(mut self, target: impl AsRef<[u8]>) -> Self {
        self.link = target.as_ref().to_vec();
        self
    }

    /// The header block. Names beyond 100 bytes need a PAX header before it.
    pub(crate) fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let name = &self.name[..self.name.len().min(100)];
        block[..name.len()].copy_from_slice(name);
        octal(&mut block[100..108], u64::from(self.mode));
        octal(&mut block[108..116], self.uid);
        octal(&mut block[116..124], self.gid);
        octal(&mut block[124..136], self.size.unwrap_or(self.data.len() as u64));
        octal(&mut block[136..148], self.mtime);
        block[156] = self.kind;
        let link = &self.link[..self.link.len().min(100)];
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], 0);
        octal(&mut block[337..345], 0);
        seal(&mut block);
        block
    }
}

/// Writes octal digits, or base 256 where they do not fit.
pub(crate) fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() <= digits {
        field[..digits].copy_from_slice(text.as_bytes());
        field[digits] = 0;
    } else {
        field.fill(0);
        let start = field.len() - 8;
        field[start..].copy_from_slice(&value.to_be_bytes());
        field[0] |= 0x80;
    }
}

/// Sets the checksum.
pub(crate) fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// One PAX record, its length counted.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// An archive under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    /// A member: its header, and its data padded to blocks.
    pub(crate) fn entry(mut self, entry: Entry) -> Self {
        self.bytes.extend_from_slice(&entry.header());
        self.bytes.extend_from_slice(&entry.data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::new(name, b'0').data(data))
    }

    pub(crate) fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::new(name, b'5'))
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::new(name, b'2').link(target))
    }

    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::new(name, b'1').link(target))
    }

    /// An extended header for the next member.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let data = records.iter().flat_map(|(key, value)| record(key.as_bytes(), value)).collect::<Vec<u8>>();
        self.entry(Entry::new("pax", b'x').data(data))
    }

    /// Without the closing blocks.
    pub(crate) fn open(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.raw([0; 1024]).bytes
    }
}

/// The manifest of a small ACI.
pub(crate) const MANIFEST: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/test","app":{"exec":["/bin/true"],"user":"0","group":"0"}}"#;

/// An ACI with this manifest and whatever `rest` adds.
pub(crate) fn aci(rest: impl FnOnce(Archive) -> Archive) -> Vec<u8> {
    rest(Archive::new().file("manifest", MANIFEST).dir("rootfs")).end()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The records of a sparse file in the order in which GNU tar wants them.
pub(crate) fn sparse_records<'a>(blocks: &'a [u8], map: &'a [u8], size: &'a [u8]) -> [(&'static str, &'a [u8]); 3] {
    [("GNU.sparse.numblocks", blocks), ("GNU.sparse.map", map), ("GNU.sparse.size", size)]
}
