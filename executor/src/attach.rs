//! Being connected with the streams of an app that a supervisor keeps.

use std::os::fd::{AsFd as _, OwnedFd};

use pod::{PodEntry, Pods};
use rustix::process::Signal;
use stage1::protocol::{Call, End, Reply};
use sys::signal::Block;

use crate::client::Client;
use crate::detach_keys;
use crate::error::CommandError;
use crate::relay::{Ended, RawTerminal, Streams};

/// Which streams are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// How being attached ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    /// The pod ended, with this status if it was held.
    Over(Option<End>),
    /// The app's streams did, and the app most likely with them.
    Closed,
    /// The user let go, or whoever read what was written.
    Detached,
}

/// Attaches to the only app of a pod that waits for it, and stays until the pod's end, which is also the end of the pod
/// if this process dies, but not if the user lets go. Returns the pod's status, or `None` if it goes on.
///
/// # Errors
///
/// The supervisor cannot be reached.
pub(crate) fn hold(pods: &Pods, entry: &PodEntry, app: &str) -> Result<Option<u8>, CommandError> {
    let client = Client::connect(pods, entry)?;
    let wanted = Wanted { stdin: true, stdout: true, stderr: true };
    match attach(client, app, wanted, true)? {
        Attached::Over(Some(end)) => Ok(Some(u8::try_from(end.status()).unwrap_or(u8::MAX))),
        Attached::Over(None) => Err(CommandError::failed("the pod's supervisor was killed")),
        Attached::Closed | Attached::Detached => Ok(None),
    }
}

/// Has a pod that is held go on without its holder.
fn let_go(client: &mut Client) -> Result<(), CommandError> {
    client.say(Call::LetGo, &[])?;
    loop {
        match client.hear()? {
            // It has just ended.
            Some((Reply::Done | Reply::Exited(_), _)) | None => return Ok(()),
            Some(_) => {}
        }
    }
}

/// Attaches to an app until its end, or until the user lets go.
///
/// # Errors
///
/// There is no such app, or nobody keeps its streams.
pub(crate) fn attach(mut client: Client, app: &str, wanted: Wanted, holds: bool) -> Result<Attached, CommandError> {
    let watched = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];
    let signals = sys::signal::watch(&watched.map(Signal::as_raw), Block::Watched)?;
    let Wanted { stdin, stdout, stderr } = wanted;
    let call = Call::Attach { app: app.to_owned(), stdin, stdout, stderr, holds };
    let (reply, fds) = client.ask(call, &[])?;
    let Reply::Attached { stdin, stdout, stderr, terminal } = reply else { return Err(client.gone()) };
    let mut fds = fds.into_iter();
    let mut take = |there: bool| -> Option<OwnedFd> { if there { fds.next() } else { None } };
    let (input, output, errors) = (take(stdin), take(stdout), take(stderr));
    let mut streams = Streams { input, output, errors, terminal, for_a_reader: !holds, keys: detach_keys::chosen() };
    let raw = (terminal && stdin).then(RawTerminal::enter);
    if let (true, Some(terminal)) = (terminal, &streams.input) {
        // The program may have been started under another size.
        let _ = stage1::terminal::resize(terminal, crate::relay::size());
    }
    let ended = loop {
        if client.has_more() {
            match client.hear()? {
                Some((Reply::Exited(end), _)) => break Attached::Over(Some(end)),
                Some(_) => continue,
                None => break Attached::Over(None),
            }
        }
        let app = app.to_owned();
        let hand_on = |signal| client.say(Call::Signal { app: Some(app.clone()), signal }, &[]);
        match streams.relay(client.as_fd(), &signals, hand_on)? {
            Ended::Detached | Ended::Unread => break Attached::Detached,
            Ended::Streams if !holds => break Attached::Closed,
            Ended::Notified | Ended::Streams => match client.hear_quietly()? {
                Some((Reply::Exited(end), _)) => break Attached::Over(Some(end)),
                Some(_) => {}
                None => break Attached::Over(None),
            },
        }
    };
    match ended {
        Attached::Over(_) => streams.read_to_end()?,
        Attached::Detached if holds => let_go(&mut client)?,
        Attached::Closed | Attached::Detached => {}
    }
    drop(raw);
    Ok(ended)
}
