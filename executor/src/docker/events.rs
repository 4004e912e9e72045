//! `docker events`: what happens to containers.

use std::time::Duration;

use clap::Args;
use pod::Pods;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::commands::logs;
use crate::context::Context;
use crate::error::CommandError;
use crate::{moment, output};

mod happening;
mod known;
mod tidings;
mod watch;

use happening::{Filters, Form, Happening};
use watch::Watch;

/// Get real time events of containers: create, start, exec_start, die, stop, pause, unpause, rename, destroy
///
/// Without --until it goes on until it is ended itself. Of the past (--since) it tells what containers that are still there
/// know of themselves.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Show all events since then: a time or an age
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Stream events until then: a time or an age
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Filter output: container=, event=, image=, label=, type=container
    #[arg(long, short, value_name = "FILTER")]
    filter: Vec<String>,

    /// Format output: json, or a template of fields such as '{{.Action}} {{.Actor.Attributes.name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) fn run(context: &Context, args: EventsArgs) -> Result<u8, CommandError> {
    let start = moment::now();
    let time = |option: &str, text: &Option<String>| {
        text.as_deref().filter(|text| !text.is_empty()).map(|text| logs::moment(option, text)).transpose()
    };
    let (since, until) = (time("--since", &args.since)?, time("--until", &args.until)?);
    let teller = Teller {
        form: Form::parse(args.format.as_deref())?,
        filters: Filters::parse(&args.filter)?,
        since: since.unwrap_or(start),
        until: until.unwrap_or(u64::MAX),
    };
    // Whoever waits for pods wants there to be a place for them.
    let (pods, store) = (Pods::ensure(context.data_dir()?)?, context.stored()?);
    let mut watch = Watch::begin(&pods, &store, context.data_dir()?)?;
    let mut past = watch.past()?;
    past.sort_by_key(|happening| happening.time_ns);
    if teller.tell(&past)? {
        return Ok(0);
    }
    while let Some(patience) = patience(until) {
        let patience = if watch.is_stale() { Some(Timespec::default()) } else { patience };
        let ready = {
            let mut polled: Vec<PollFd<'_>> =
                watch.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            match poll(&mut polled, patience.as_ref()) {
                Err(Errno::INTR) => continue,
                polled => polled?,
            };
            polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<bool>>()
        };
        if teller.tell(&watch.news(&ready)?)? {
            return Ok(0);
        }
    }
    Ok(0)
}

/// How long is to be waited at most; `None` if it is over.
fn patience(until: Option<u64>) -> Option<Option<Timespec>> {
    let Some(until) = until else { return Some(None) };
    let left = Duration::from_nanos(until.checked_sub(moment::now()).filter(|left| *left > 0)?);
    Some(Timespec::try_from(left).ok())
}

/// Who prints what is wanted.
struct Teller {
    form: Form,
    filters: Filters,
    since: u64,
    until: u64,
}

impl Teller {
    /// Prints those that are wanted. True if nobody reads any more.
    fn tell(&self, all: &[Happening]) -> Result<bool, CommandError> {
        let in_time = |happening: &&Happening| (self.since..=self.until).contains(&happening.time_ns);
        let wanted = all.iter().filter(in_time).filter(|happening| self.filters.admit(happening));
        let lines = wanted.map(|happening| self.form.line(happening)).collect::<Result<String, _>>()?;
        output::write_while_read(&lines)
    }
}
