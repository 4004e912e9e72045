//! `proa completion`: what a shell needs to complete command lines.

use clap::Args;
use clap_complete::{Shell, generate};

use crate::context::Context;
use crate::error::CommandError;
use crate::{cli, output};

/// Print the completion script of a shell
///
/// It is made of the same definitions as the help texts.
#[derive(Debug, Args)]
#[command(after_help = "\
bash: source <(proa completion bash), in ~/.bashrc
zsh:  proa completion zsh >~/.zfunc/_proa, with ~/.zfunc in fpath
fish: proa completion fish >~/.config/fish/completions/proa.fish

Examples:
  proa completion bash
  proa completion fish")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: KnownShell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum KnownShell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(_: &Context, args: CompletionArgs) -> Result<u8, CommandError> {
    let shell = match args.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut cli::plain_tree(), "proa", &mut script);
    output::write_bytes(&script)?;
    Ok(0)
}
