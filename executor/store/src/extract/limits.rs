//! The bounds on what an archive may ask for.

/// Upper bounds on one archive. There is no "unlimited": every count, size and depth an image chooses is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtractLimits {
    /// Entries, whatever their kind.
    pub entries: u64,
    /// Bytes after decompression, and the sum of the sizes of the files they hold (a sparse file counts whole).
    pub expanded: u64,
    /// Bytes of a path, and of a symbolic link's target. PATH_MAX: the kernel takes no longer one in one call.
    pub path: usize,
    /// Bytes of one path component. NAME_MAX of every Linux file system we meet.
    pub component: usize,
    /// Components of a path. Deeper trees cannot be walked with few descriptors and little stack by everybody.
    pub depth: usize,
    /// Bytes of PAX and GNU long-name records before one entry.
    pub metadata: u32,
    /// Bytes of extended attributes of one entry, names and values.
    pub xattrs_per_entry: usize,
    /// Bytes of extended attributes that are kept, over the whole archive.
    pub xattrs_total: usize,
    /// Data regions of all sparse files together; one file may have a tenth of them.
    pub sparse_regions: usize,
    /// Bytes remembered about directories and owners until the end. A million directories of average names fit.
    pub remembered: usize,
    /// Bytes of an ACI's manifest.
    pub manifest: usize,
    /// How many times larger than its compressed form an archive may be, once it is beyond `ratio_from`.
    /// Deflate reaches 1032 on zeros, real images stay below 20.
    pub ratio: u64,
    /// Expanded bytes up to which the ratio does not matter.
    pub ratio_from: u64,
}

impl Default for ExtractLimits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            expanded: 16 << 30,
            path: 4096,
            component: 255,
            depth: 256,
            metadata: 1 << 20,
            xattrs_per_entry: 64 << 10,
            xattrs_total: 256 << 10,
            sparse_regions: 100_000,
            remembered: 48 << 20,
            manifest: 4 << 20,
            ratio: 200,
            ratio_from: 64 << 20,
        }
    }
}
