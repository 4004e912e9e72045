//! `proa aci discover`: where images and the keys of their makers are.

use appc::ImageString;
use clap::Args;

use crate::context::Context;
use crate::discover::{self, Failure};
use crate::error::CommandError;
use crate::output;
use crate::web::Web;

/// Find the URLs of images, their signatures and the keys they are signed with
///
/// The host of each name is asked, as App Container discovery wants it, over HTTPS. Operating system and architecture
/// are this machine's if the name has none.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa aci discover example.com/app
  proa aci discover --json example.com/app:1.0.0,os=linux,arch=amd64")]
pub(crate) struct DiscoverArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Ask hosts at this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Accept any certificate, and plain HTTP where HTTPS does not work, as --insecure-options=http,tls does
    #[arg(long)]
    insecure: bool,

    /// Do not make up the labels os and arch
    #[arg(long)]
    no_default_labels: bool,

    /// Names of images: NAME[:VERSION][,LABEL=VALUE...]
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) fn run(context: &Context, args: DiscoverArgs) -> Result<u8, CommandError> {
    let insecure = if args.insecure { context.insecure.with_http_and_tls() } else { context.insecure };
    let web = Web::new(context.config_dirs(), insecure)?;
    let discovery = web.discovery()?.port(args.port);
    for name in &args.names {
        let image = name.parse::<ImageString>().map_err(|error| {
            CommandError::usage(format!("{name}: {error}")).hint("names are written NAME[:VERSION][,LABEL=VALUE...]")
        })?;
        let image = if args.no_default_labels { image } else { discover::complete(image) };
        let found = discover::discover(&discovery, &image).map_err(|failure| match failure {
            Failure::Endpoints { error, .. } => CommandError::from(error).during(name.clone()),
            Failure::Keys(error) => CommandError::from(error).during(format!("{name}: public keys")),
        })?;
        output::write(&if args.json { found.json()? } else { found.lines() })?;
    }
    Ok(0)
}
