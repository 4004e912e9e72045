//! `proa logs`: shows what the apps of a pod have written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use appc::AcName;
use clap::Args;
use pod::{PodEntry, PodRef, Pods, State};

use crate::context::Context;
use crate::error::{CommandError, Explain as _};
use crate::log_line::{LogLine, Stream};
use crate::{app_argument, duration, moment, output, pod_argument};

/// Print what the apps of a pod have written
///
/// Kept are the streams of detached pods, in the pod's directory and in the format of Kubernetes' CRI. What an app wrote
/// to its standard error is printed to standard error. With several apps, a line begins with the app's name.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa logs web\n  proa logs --follow --tail 20 web\n  proa logs --app nginx --since 10m --timestamps web"
)]
pub(crate) struct LogsArgs {
    /// Go on until the pod has ended
    #[arg(long, short)]
    follow: bool,

    /// Print only the last so many lines of each app
    #[arg(long, short = 'n', value_name = "NUMBER")]
    tail: Option<usize>,

    /// Print only what was written since then: a time (2026-01-02T03:04:05Z) or an age (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Print only what this app has written
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// Begin each line with its time
    #[arg(long, short)]
    timestamps: bool,

    /// Print that of the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: Option<String>,
}

/// How often a log is looked at that is followed.
const PAUSE: Duration = Duration::from_millis(50);

/// More files than a log ever has.
const MAX_FILES: u32 = 10_000;

/// What of the logs is wanted, and how.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Whether to go on until the pod has ended.
    pub(crate) follow: bool,
    /// Only the last so many lines of each app.
    pub(crate) tail: Option<usize>,
    /// Only what was written since: a time or an age.
    pub(crate) since: Option<String>,
    /// Only what was written until then: a time or an age.
    pub(crate) until: Option<String>,
    /// Only of this app.
    pub(crate) app: Option<String>,
    /// Whether lines begin with their time.
    pub(crate) timestamps: bool,
}

pub(crate) fn run(context: &Context, args: LogsArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let entry = pod_argument::one(&pods, args.pod.as_ref(), args.uuid_file.as_ref())?;
    let LogsArgs { follow, tail, since, app, timestamps, .. } = args;
    print(&pods, &entry, &Wanted { follow, tail, since, until: None, app, timestamps })
}

/// Prints what the apps of a pod have written.
///
/// # Errors
///
/// The pod has no such app or no logs, or they cannot be read or printed.
pub(crate) fn print(pods: &Pods, entry: &PodEntry, args: &Wanted) -> Result<u8, CommandError> {
    let since = args.since.as_deref().map(|text| time("--since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| time("--until", text)).transpose()?;
    let pod = pods.open(entry)?;
    let mut logs = logs(&pod, args.app.as_deref())?;
    let named = logs.len() > 1;
    let mut printer = Printer { args, named, since, until, open: [false; 2] };
    let mut lines = Vec::new();
    for (index, log) in logs.iter_mut().enumerate() {
        // No more is held than what is printed, however long the log is.
        let mut of_app = VecDeque::new();
        log.read_all(&pod, |line| {
            of_app.push_back((line, index));
            if args.tail.is_some_and(|tail| of_app.len() > tail) {
                of_app.pop_front();
            }
        })?;
        lines.extend(of_app);
    }
    // Each log is in order; so they are together.
    lines.sort_by(|a, b| a.0.time.cmp(&b.0.time));
    for (line, index) in &lines {
        if !printer.print(&logs[*index].name, line)? {
            return Ok(0);
        }
    }
    if output::write_while_read("")? || !args.follow || printer.is_over() {
        return Ok(0);
    }
    follow(pods, entry, &pod, &mut logs, &mut printer)
}

/// Prints what is written from now on, until the pod has ended or nobody reads any more.
fn follow(
    pods: &Pods,
    entry: &PodEntry,
    pod: &PodRef,
    logs: &mut [AppLog],
    printer: &mut Printer<'_>,
) -> Result<u8, CommandError> {
    loop {
        // Looked at before the last reading: what is written after the end is none of the pod's.
        let over = !is_running(pods, entry);
        for log in &mut *logs {
            let mut lines = Vec::new();
            log.read_more(pod, |line| lines.push(line))?;
            for line in &lines {
                if !printer.print(&log.name, line)? {
                    return Ok(0);
                }
            }
        }
        if output::write_while_read("")? || over || printer.is_over() {
            return Ok(0);
        }
        std::thread::sleep(PAUSE);
    }
}

fn is_running(pods: &Pods, entry: &PodEntry) -> bool {
    pods.find(&entry.uuid.to_string()).is_ok_and(|entry| entry.state == State::Running)
}

/// An age or a time in the form that logs have.
fn time(option: &str, text: &str) -> Result<String, CommandError> {
    if let Ok(age) = duration::parse(text) {
        let then = moment::now().saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        return Ok(moment::rfc3339(then));
    }
    moment::parse(text).map(moment::rfc3339).ok_or_else(|| {
        CommandError::usage(format!("{option}={text:?}: neither a time nor an age"))
            .hint("write a time as 2026-01-02T03:04:05Z, an age as 10m")
    })
}

/// A time or an age of an option, in nanoseconds since the epoch.
///
/// # Errors
///
/// It is neither.
pub(crate) fn moment(option: &str, text: &str) -> Result<u64, CommandError> {
    time(option, text).map(|time| moment::parse_rfc3339(&time).unwrap_or_default())
}

fn logs(pod: &PodRef, app: Option<&str>) -> Result<Vec<AppLog>, CommandError> {
    let mut found = Vec::new();
    for known in pod.manifest()?.apps {
        if app.is_some_and(|app| app != known.name.as_str()) {
            continue;
        }
        found.push(AppLog { name: known.name, file: None, inode: 0 });
    }
    if found.is_empty() {
        return Err(app.map_or_else(app_argument::none, app_argument::unknown));
    }
    let mut kept = false;
    for log in &found {
        kept |= pod.log(&log.name, 0)?.is_some();
    }
    if !kept {
        return Err(CommandError::failed(format!("pod \"{}\" has no logs", pod.uuid()))
            .hint("only what detached pods write is kept: see `proa run --detach`"));
    }
    Ok(found)
}

/// The log of one app, read as far as it was there.
struct AppLog {
    name: AcName,
    file: Option<BufReader<File>>,
    inode: u64,
}

impl AppLog {
    /// Reads the old files and the one that is written to.
    fn read_all(&mut self, pod: &PodRef, mut line: impl FnMut(LogLine)) -> Result<(), CommandError> {
        let mut files = Vec::new();
        for number in 0..MAX_FILES {
            match pod.log(&self.name, number)? {
                Some(file) => files.push(File::from(file)),
                None => break,
            }
        }
        for file in files.into_iter().rev() {
            self.open(file)?;
            self.read(&mut line)?;
        }
        Ok(())
    }

    /// Reads what was written since; a new file is begun when the old one is read to its end.
    fn read_more(&mut self, pod: &PodRef, mut line: impl FnMut(LogLine)) -> Result<(), CommandError> {
        self.read(&mut line)?;
        let Some(file) = pod.log(&self.name, 0)?.map(File::from) else { return Ok(()) };
        if self.inode_of(&file)? != self.inode {
            // What came between the last reading and the change.
            self.read(&mut line)?;
            self.open(file)?;
            self.read(&mut line)?;
        }
        Ok(())
    }

    fn inode_of(&self, file: &File) -> Result<u64, CommandError> {
        Ok(file.metadata().during(|| format!("look at the log of {}", self.name))?.ino())
    }

    fn open(&mut self, file: File) -> Result<(), CommandError> {
        self.inode = self.inode_of(&file)?;
        self.file = Some(BufReader::with_capacity(64 * 1024, file));
        Ok(())
    }

    fn read(&mut self, line: &mut impl FnMut(LogLine)) -> Result<(), CommandError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        loop {
            let mut text = Vec::new();
            let len = file.read_until(b'\n', &mut text).during(|| format!("read the log of {}", self.name))?;
            if len == 0 {
                return Ok(());
            }
            if text.last() != Some(&b'\n') {
                // It is being written: come again.
                let back = file.seek_relative(-i64::try_from(len).unwrap_or(0));
                back.during(|| format!("read the log of {}", self.name))?;
                return Ok(());
            }
            text.pop();
            if let Some(parsed) = LogLine::parse(&text) {
                line(parsed);
            }
        }
    }
}

/// Prints lines as the user wants them.
struct Printer<'a> {
    args: &'a Wanted,
    named: bool,
    since: Option<String>,
    until: Option<String>,
    /// Whether output and errors stand in the middle of a line.
    open: [bool; 2],
}

impl Printer<'_> {
    /// Whether whatever is written from now on is too late.
    fn is_over(&self) -> bool {
        self.until.as_ref().is_some_and(|until| *until <= moment::rfc3339(moment::now()))
    }

    /// Prints a line; false when nobody reads any more.
    fn print(&mut self, app: &AcName, line: &LogLine) -> Result<bool, CommandError> {
        let late = self.until.as_ref().is_some_and(|until| line.time > *until);
        if late || self.since.as_ref().is_some_and(|since| line.time < *since) {
            return Ok(true);
        }
        let open = &mut self.open[usize::from(line.stream == Stream::Stderr)];
        let mut text = Vec::with_capacity(line.text.len() + 64);
        if !*open {
            if self.named {
                text.extend_from_slice(format!("{app}: ").as_bytes());
            }
            if self.args.timestamps {
                text.extend_from_slice(format!("{} ", line.time).as_bytes());
            }
        }
        text.extend_from_slice(&line.text);
        if line.complete {
            text.push(b'\n');
        }
        *open = !line.complete;
        let written = match line.stream {
            Stream::Stdout => io::stdout().lock().write_all(&text),
            Stream::Stderr => io::stderr().lock().write_all(&text),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).during(|| "write to stdout".into()),
        }
    }
}
