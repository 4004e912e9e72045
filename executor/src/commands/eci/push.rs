//! `proa eci push`: packs files into an image and sends it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use eci::{Artifact, Disk, Format, Options, Packed, Platform};

use super::image;
use crate::context::Context;
use crate::error::{CommandError, Explain};
use crate::output;
use crate::vm_images::{At, Remote, Timestamp, Told};

/// Pack a kernel, an initrd and disks into an image, and push it
///
/// Every part is optional, but there must be one. Disks have a type: raw, vmdk, vhd, iso, qcow, qcow2, ova or vhdx. The
/// same files give the same image; the time in it is 1970 unless one is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa eci push --kernel vmlinuz --root disk.qcow2:qcow2 registry.example.com/team/vm:1
  proa eci push --kernel vmlinuz --initrd initrd.img --root disk.qcow2:qcow2 --remote /srv/images vm:1
  proa eci push --format=legacy --root disk.raw:raw --disk data.qcow2:qcow2 --remote /srv/images vm:1
  proa eci push --remote /srv/images --root disk.raw:raw vm:1")]
pub(crate) struct PushArgs {
    /// The kernel
    #[arg(long, value_name = "FILE")]
    kernel: Option<OsString>,

    /// The initial RAM disk
    #[arg(long, value_name = "FILE")]
    initrd: Option<OsString>,

    /// The root disk
    #[arg(long, value_name = "FILE:TYPE")]
    root: Option<String>,

    /// A further disk; may be given several times, or several with commas between them
    #[arg(long, value_name = "FILE:TYPE")]
    disk: Vec<String>,

    /// A config in JSON, in place of the one that is generated
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,

    /// The author in the generated config
    #[arg(long, value_name = "NAME", default_value = "lf-edge/edge-containers")]
    author: String,

    /// The operating system in the generated config [default: this machine's]
    #[arg(long = "OS", value_name = "NAME")]
    os: Option<String>,

    /// The processor in the generated config, as Go calls it [default: this machine's]
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,

    /// artifacts, or legacy for registries and engines that take only ordinary layers
    #[arg(long, value_name = "FORMAT", default_value = "artifacts")]
    format: String,

    /// The time in the image, for instance 2026-01-31T00:00:00Z or seconds since 1970 [default: SOURCE_DATE_EPOCH]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<Timestamp>,

    /// Print a line for each file that was sent
    #[arg(long)]
    verbose: bool,

    // The original's message is better than clap's where the number is wrong.
    /// The image's name
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &PushArgs, place: &Remote, remote: &str) -> Result<u8, CommandError> {
    let image = image(&args.images, "must be exactly one arg, run help")?;
    let disk = |what: &str, text: &str| {
        text.parse::<Disk>().map_err(|error| CommandError::usage(format!("unable to read {what} {text}: {error}")))
    };
    // As with the original, an empty value is none.
    let given = |path: &Option<OsString>| path.clone().filter(|it| !it.is_empty()).map(PathBuf::from);
    let root = args.root.as_ref().filter(|it| !it.is_empty());
    let artifact = Artifact {
        kernel: given(&args.kernel),
        initrd: given(&args.initrd),
        root: root.map(|it| disk("root disk", it)).transpose()?,
        disks: args.disk.iter().flat_map(|it| fields(it)).map(|it| disk("disk", &it)).collect::<Result<_, _>>()?,
        config: given(&args.config),
    };
    let format = match args.format.as_str() {
        "artifacts" => Format::Artifacts,
        "legacy" => Format::Legacy,
        other => return Err(CommandError::usage(format!("unknown format: {other}"))),
    };
    let options = Options {
        format,
        author: args.author.clone(),
        platform: platform(args.os.as_deref(), args.arch.as_deref()),
        timestamp: timestamp(args.timestamp)?,
    };
    let digest = At::new(context, place, image)
        .and_then(|at| send(&artifact, &options, &at, args.verbose))
        .during(|| "error pushing to registry".into())?;
    let location = if remote.is_empty() { String::new() } else { format!("to {remote} ") };
    output::write(&format!("Pushed image {image} {location}with digest {digest}\n"))?;
    Ok(0)
}

/// The fields of a line of comma-separated values: one in quotes may have commas in it, and quotes as `""`.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(it) = rest.next() {
        match it {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            it => field.push(it),
        }
    }
    // As with the original, an empty value is none.
    if !line.is_empty() {
        fields.push(field);
    }
    fields
}

/// The platform of an image: this machine's where nothing else is said.
pub(super) fn platform(os: Option<&str>, arch: Option<&str>) -> Platform {
    let host = fetch::Platform::host();
    let or = |given: Option<&str>, host: String| given.filter(|it| !it.is_empty()).map_or(host, str::to_owned);
    Platform { os: or(os, host.os), architecture: or(arch, host.architecture) }
}

/// The time that was given, or else the environment's (reproducible-builds.org).
fn timestamp(given: Option<Timestamp>) -> Result<Option<u64>, CommandError> {
    let variable = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|it| !it.is_empty());
    let time = match (given, variable) {
        (Some(time), _) => Some(time),
        (None, Some(text)) => Some(
            text.parse::<Timestamp>()
                .map_err(|error| CommandError::usage(format!("SOURCE_DATE_EPOCH={text}: {error}")))?,
        ),
        (None, None) => None,
    };
    Ok(time.map(|it| it.0))
}

fn send(artifact: &Artifact, options: &Options, at: &At, verbose: bool) -> Result<String, CommandError> {
    let packed = Packed::new(artifact, options, &std::env::temp_dir()).during(|| "could not build manifest".into())?;
    let mut destination = at.destination()?;
    packed.send(&mut *destination, &mut Told::new(verbose)).map_err(CommandError::of)?;
    Ok(packed.manifest.digest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_comma_separated_values() {
        for (line, expected) in [
            ("", &[][..]),
            ("a:raw", &["a:raw"]),
            ("a:raw,b:iso", &["a:raw", "b:iso"]),
            ("a:raw,", &["a:raw", ""]),
            ("\"a,b:raw\",c:iso", &["a,b:raw", "c:iso"]),
            ("\"a\"\"b:raw\"", &["a\"b:raw"]),
            ("a\"b:raw", &["a\"b:raw"]),
        ] {
            assert_eq!(fields(line), expected, "{line}");
        }
    }
}
