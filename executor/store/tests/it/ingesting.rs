//! One archive through the whole pass: compressed bytes in, tree, blob and digests out.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use store::extract::{ExtractError, ExtractLimits, Form};
use store::ingest::{Compression, IngestError, IngestJob, IngestReport, InputFormat, run};
use store::{Algorithm, Digest};
use tempfile::TempDir;

use crate::archive::{Archive, aci, bzip2, gzip, xz, zstd};
use crate::bed::refusal;

const GZIP: InputFormat = InputFormat::OciLayer(Compression::Gzip);
const ZSTD: InputFormat = InputFormat::OciLayer(Compression::Zstd);
const PLAIN: InputFormat = InputFormat::OciLayer(Compression::None);

struct Bench {
    dir: TempDir,
    job: IngestJob,
}

impl Bench {
    fn new(input: &[u8], format: InputFormat) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        file.rewind().unwrap();
        let job = IngestJob {
            input: file,
            length: None,
            format,
            root: OwnedFd::from(File::open(dir.path().join("tree")).unwrap()),
            blob: Some(File::create_new(dir.path().join("blob")).unwrap()),
            recipe: None,
            limits: ExtractLimits::default(),
            expect_compressed: None,
            expect_uncompressed: None,
            single_id: true,
            below: store::extract::Below::default(),
            milestones: None,
        };
        Self { dir, job }
    }

    /// Runs the job; on success the blob must hold exactly the input.
    fn run(self, input: &[u8]) -> Result<(IngestReport, TempDir), IngestError> {
        let report = run(self.job)?;
        assert!(fs::read(self.dir.path().join("blob")).unwrap() == input, "the blob is not the input");
        assert_eq!(report.compressed_size, input.len() as u64);
        Ok((report, self.dir))
    }
}

fn ingest(input: &[u8], format: InputFormat) -> Result<(IngestReport, TempDir), IngestError> {
    Bench::new(input, format).run(input)
}

/// Refused, with this text.
#[track_caller]
fn refused(input: &[u8], format: InputFormat, expected: &str) {
    let text = refusal(ingest(input, format));
    assert!(text.contains(expected), "{text}\nexpected: {expected}");
}

fn layer() -> Vec<u8> {
    Archive::new().file("a", "content of a").dir("d").end()
}

/// Incompressible bytes, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// Large enough for the pass with two threads.
fn large() -> Vec<u8> {
    (0..40).fold(Archive::new(), |archive, n| archive.file(format!("f{n}"), &noise(100_000)[n..])).end()
}

#[test]
fn every_format_gives_the_same_tree_and_digest() {
    for tar in [layer(), large()] {
        let packed = [(tar.clone(), PLAIN), (gzip(&tar), GZIP), (zstd(&tar), ZSTD)];
        for (input, format) in packed {
            let (report, dir) = ingest(&input, format).unwrap();
            assert_eq!(report.compressed, Digest::of(Algorithm::Sha256, &input));
            assert_eq!(report.uncompressed, Digest::of(Algorithm::Sha256, &tar));
            assert_eq!((report.form, report.uncompressed_size), (Form::OciLayer, tar.len() as u64));
            let files = fs::read_dir(dir.path().join("tree")).unwrap().count() as u64;
            assert_eq!(report.extracted.entries, files);
            let copy: IngestReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
            assert_eq!(copy, report, "it crosses a pipe");
        }
    }
}

#[test]
fn an_acis_id_is_the_sha_512_of_its_tar() {
    let tar = aci(|archive| archive.file("rootfs/x", "x"));
    for input in [tar.clone(), gzip(&tar), zstd(&tar), bzip2(&tar), xz(&tar)] {
        let (report, _dir) = ingest(&input, InputFormat::Aci).unwrap();
        assert_eq!(report.uncompressed, Digest::of(Algorithm::Sha512, &tar));
        assert_eq!(report.compressed, Digest::of(Algorithm::Sha256, &input));
        assert!(report.extracted.manifest.is_some());
    }
}

#[test]
fn unp_21_every_byte_of_the_stream_counts() {
    let tar = layer();
    // Bytes after the end of the archive belong to the digest.
    let trailing = [&tar[..], b"trailing bytes", &[0; 10240]].concat();
    let (report, _dir) = ingest(&trailing, PLAIN).unwrap();
    assert_eq!(report.uncompressed, Digest::of(Algorithm::Sha256, &trailing));
    // Members and frames are one stream, wherever they are cut.
    for cut in [1, 512, 600, tar.len() - 1] {
        let members = [gzip(&tar[..cut]), gzip(&tar[cut..])].concat();
        assert_eq!(ingest(&members, GZIP).unwrap().0.uncompressed, Digest::of(Algorithm::Sha256, &tar));
        let skippable = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(&tar[..cut]), &zstd(&tar[cut..])].concat();
        assert_eq!(ingest(&skippable, ZSTD).unwrap().0.uncompressed, Digest::of(Algorithm::Sha256, &tar));
    }
    // A second archive behind the first is not extracted, but hashed.
    let second = [gzip(&tar), gzip(&Archive::new().file("evil", "").end())].concat();
    let (report, dir) = ingest(&second, GZIP).unwrap();
    assert_ne!(report.uncompressed, Digest::of(Algorithm::Sha256, &tar));
    assert!(!dir.path().join("tree/evil").exists());
    // What is not part of the stream is refused.
    // However many they are: few would look like the beginning of a member that is cut off.
    for garbage in [&b"garbage garbage"[..], b"x", &[0; 512]] {
        refused(&[&gzip(&tar)[..], garbage].concat(), GZIP, "garbage after the end of the gzip stream");
    }
    refused(&[zstd(&tar), b"garbage garbage".to_vec()].concat(), ZSTD, "corrupt zstd stream");
}

#[test]
fn unp_21_bzip2_and_xz_streams_count_whole() {
    let tar = aci(|archive| archive.file("rootfs/x", noise(3000)));
    let id = Digest::of(Algorithm::Sha512, &tar);
    for pack in [bzip2, xz] {
        for cut in [1, 600, tar.len() - 1] {
            let streams = [pack(&tar[..cut]), pack(&tar[cut..])].concat();
            assert_eq!(ingest(&streams, InputFormat::Aci).unwrap().0.uncompressed, id);
        }
        let whole = pack(&tar);
        let name = if whole.starts_with(b"BZh") { "bzip2" } else { "xz" };
        for length in [16, whole.len() / 2, whole.len() - 1] {
            refused(&whole[..length], InputFormat::Aci, &format!("truncated {name} stream after {length} bytes"));
        }
        refused(&[&whole[..], b"garbage garbage"].concat(), InputFormat::Aci, &format!("corrupt {name} stream"));
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        refused(&damaged, InputFormat::Aci, name);
    }
}

#[test]
fn truncation_is_told_from_corruption() {
    for (whole, format, name) in [(gzip(&layer()), GZIP, "gzip"), (zstd(&layer()), ZSTD, "zstd")] {
        for length in [10, whole.len() / 2, whole.len() - 1] {
            let text = refusal(ingest(&whole[..length], format));
            assert_eq!(text, format!("truncated {name} stream after {length} bytes"));
        }
    }
    let mut crc = gzip(&layer());
    let at = crc.len() - 6;
    crc[at] ^= 1;
    refused(&crc, GZIP, "corrupt gzip stream near byte");
    let mut middle = gzip(&large());
    middle[100_000..100_100].fill(0xaa);
    assert!(matches!(
        ingest(&middle, GZIP).unwrap_err(),
        IngestError::Corrupt { .. } | IngestError::Extract(ExtractError::Header { .. })
    ));
    refused(&layer()[..700], PLAIN, "truncated at byte 700");
}

#[test]
fn what_is_no_archive_is_named() {
    refused(b"", PLAIN, "the archive is empty");
    refused(b"", GZIP, "the archive is empty");
    refused(b"", InputFormat::Aci, "the archive is empty");
    refused(
        b"#!/bin/sh\necho hello\n",
        InputFormat::Aci,
        r##"not a tar archive: it begins with "#!/bin/sh\x0aecho h""##,
    );
    refused(
        &gzip(b"just text, but long enough to be a block of tar".repeat(20).as_slice()),
        InputFormat::Aci,
        "not a tar archive",
    );
    refused(b"BZh91AY&SY", InputFormat::Aci, "truncated bzip2 stream");
    refused(b"\xfd7zXZ\0\0\x04", InputFormat::Aci, "truncated xz stream");
    refused(b"LZIP\x01", InputFormat::Aci, "compression lzip is not supported");
    refused(b"\x8c\x0d\x04\x09\x03\x0a\x01", InputFormat::Aci, "the image is encrypted (OpenPGP)");
    refused(&zstd(&layer()), GZIP, r#"declared as gzip, but it begins with "(\xb5/\xfd"#);
    refused(&gzip(&layer()), PLAIN, "declared as tar, but it begins with");
    refused(&gzip(&gzip(&layer())), InputFormat::Aci, "not a tar archive");
}

#[test]
fn digests_are_checked() {
    let (tar, other) = (layer(), Digest::of(Algorithm::Sha256, b"other"));
    let input = gzip(&tar);
    let with = |input: &[u8], compressed, uncompressed| {
        let mut bench = Bench::new(input, GZIP);
        (bench.job.expect_compressed, bench.job.expect_uncompressed) = (compressed, uncompressed);
        run(bench.job).map(|report| report.compressed)
    };
    let (right, diff_id) = (Digest::of(Algorithm::Sha256, &input), Digest::of(Algorithm::Sha256, &tar));
    assert_eq!(with(&input, Some(right), Some(diff_id)).unwrap(), right);
    let text = refusal(with(&input, Some(other), None));
    assert_eq!(text, format!("digest mismatch of the compressed archive: expected {other}, found {right}"));
    let text = refusal(with(&input, Some(right), Some(other)));
    assert_eq!(text, format!("digest mismatch of the uncompressed archive: expected {other}, found {diff_id}"));
    // Both algorithms, whatever is the usual one.
    let strong = (Digest::of(Algorithm::Sha512, &input), Digest::of(Algorithm::Sha512, &tar));
    assert_eq!(with(&input, Some(strong.0), Some(strong.1)).unwrap(), strong.0);
    // Damage shows as what it is: other bytes than asked for.
    for damaged in [input[..input.len() / 2].to_vec(), b"not gzip".to_vec(), [&input[..], b"x"].concat()] {
        let found = Digest::of(Algorithm::Sha256, &damaged);
        let text = refusal(with(&damaged, Some(right), None));
        assert_eq!(text, format!("digest mismatch of the compressed archive: expected {right}, found {found}"));
    }
    // Bytes that are what was asked for, and bad nevertheless.
    let bad = gzip(&Archive::new().symlink("x", "..").file("x/y", "").end());
    let text = refusal(with(&bad, Some(Digest::of(Algorithm::Sha256, &bad)), None));
    assert!(text.contains("symbolic link"), "{text}");
    let large = gzip(&[&large()[..1_000_000], &[0xff; 2_000_000]].concat());
    let text = refusal(with(&large, Some(right), None));
    assert!(text.starts_with("digest mismatch"), "{text}");
}

#[test]
fn dos_01_bombs_are_stopped_early() {
    // Zeros, 1000 to 1. The archive is sound, so only the ratio gives it away. The threshold is lower than the
    // default, which only makes the test faster.
    const ZEROS: usize = 24 << 20;
    const THRESHOLD: u64 = 8 << 20;
    let limited = |input: &[u8], format, change: &dyn Fn(&mut ExtractLimits)| {
        let mut bench = Bench::new(input, format);
        bench.job.limits.ratio_from = THRESHOLD;
        change(&mut bench.job.limits);
        run(bench.job).map(|report| report.uncompressed_size)
    };
    let tar = Archive::new().file("zeros", vec![0; ZEROS]).end();
    for (packed, format) in [(gzip_best(&tar), GZIP), (zstd(&tar), ZSTD), (gzip_best(&tar), InputFormat::Aci)] {
        match limited(&packed, format, &|_| {}).unwrap_err() {
            IngestError::Bomb { ratio: 200, compressed, expanded } => {
                assert!(expanded < THRESHOLD + (1 << 20), "stopped late, after {expanded}");
                assert!(expanded > 200 * compressed);
            }
            // An ACI with a file "zeros" is refused before.
            IngestError::Extract(error) if format == InputFormat::Aci => drop(error),
            other => panic!("{other}"),
        }
        // The same below the threshold is an ordinary layer.
        if format != InputFormat::Aci {
            assert_eq!(limited(&packed, format, &|limits| limits.ratio_from = 1 << 30).unwrap(), tar.len() as u64);
        }
    }
    let packed = gzip_best(&tar);
    let text = refusal(limited(&packed, GZIP, &|limits| limits.expanded = 1 << 20));
    assert_eq!(text, "limit exceeded: bytes of files (1048576)");
    // Zeros behind the archive are not free either.
    let behind = gzip_best(&[layer(), vec![0; ZEROS]].concat());
    assert!(matches!(limited(&behind, GZIP, &|_| {}).unwrap_err(), IngestError::Bomb { .. }));
    let text = refusal(limited(&behind, GZIP, &|limits| limits.expanded = 1 << 20));
    assert_eq!(text, "expands to more than 1048576 bytes");
}

fn gzip_best(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn dos_01_a_zstd_window_beyond_128_mib_is_refused() {
    use std::io::Write as _;
    let pack = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        // Nothing is known of the size in advance, so the header asks for the whole window.
        encoder.write_all(&layer()).unwrap();
        encoder.finish().unwrap()
    };
    assert!(ingest(&pack(27), ZSTD).is_ok());
    refused(&pack(28), ZSTD, "requires too much memory");
}

#[test]
fn dos_01_an_xz_dictionary_beyond_128_mib_is_refused() {
    let pack = |megabytes: u32| {
        let mut packed = xz(&aci(|archive| archive));
        // The dictionary's size stands in the block header, behind the 12 bytes of the stream's header: half an octave
        // each (xz format 5.3.1). The header's checksum follows.
        let start = 12;
        let length = (usize::from(packed[start]) + 1) * 4;
        let filter = packed[start..start + length].windows(2).position(|pair| pair == [0x21, 1]).unwrap();
        packed[start + filter + 2] = (2 * (megabytes.ilog2() + 8)) as u8;
        let mut crc = flate2::Crc::new();
        crc.update(&packed[start..start + length - 4]);
        packed[start + length - 4..start + length].copy_from_slice(&crc.sum().to_le_bytes());
        packed
    };
    assert!(ingest(&pack(128), InputFormat::Aci).is_ok());
    for megabytes in [256, 2048] {
        refused(&pack(megabytes), InputFormat::Aci, "it asks for more than 128 MiB of memory");
    }
}

#[test]
fn a_failed_extraction_ends_a_long_pass() {
    // The inflater has megabytes to go when the extractor stops; it must notice.
    let mut bytes = Archive::new().file("../evil", "").open();
    bytes.extend(noise(8 << 20));
    let start = Instant::now();
    refused(&gzip(&bytes), GZIP, "contains \"..\"");
    refused(&bytes, PLAIN, "contains \"..\"");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_blob_that_cannot_be_written_is_an_error() {
    let input = gzip(&large());
    for input in [&input[..], &gzip(&layer())] {
        let mut bench = Bench::new(input, GZIP);
        // Open for reading only: EBADF, as every other error of write(2).
        bench.job.blob = Some(File::open("/dev/null").unwrap());
        let text = refusal(run(bench.job));
        assert_eq!(text, "write the blob: Bad file descriptor");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_an_error() {
    let mut bench = Bench::new(b"", PLAIN);
    bench.job.input = File::open("/").unwrap();
    assert_eq!(refusal(run(bench.job)), "read the archive: Is a directory");
}
