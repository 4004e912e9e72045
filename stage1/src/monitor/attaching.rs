//! Clients that are connected with the streams of an app.

use std::os::fd::{AsFd as _, BorrowedFd};

use super::{Monitor, Waits};
use crate::channel::FailureKind;
use crate::control::ConnectionId;
use crate::output::Stream;
use crate::protocol::{RefusedKind, Reply};

/// What a client wants to be connected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WantedStreams {
    /// Input, output, errors.
    pub(super) streams: [bool; 3],
    /// Whether the client is alone with the input, which ends with it.
    pub(super) alone: bool,
}

impl Monitor<'_> {
    /// Connects a client with streams of an app, once the app has those that it is to have.
    pub(super) fn attach(&mut self, connection: ConnectionId, name: &str, wanted: WantedStreams) {
        let Some(app) = self.find(connection, name) else { return };
        if !self.apps[app].is_kept() {
            let what = format!("app {name:?} has the streams of whoever runs the pod");
            return self.refuse(connection, RefusedKind::State, &what);
        }
        if self.waiting.contains_key(&connection) {
            return self.refuse(connection, RefusedKind::State, "this connection waits for something already");
        }
        if self.apps[app].terminal_is_due {
            self.waiting.insert(connection, Waits::Terminal { app, wanted });
        } else {
            self.connect_with(connection, app, wanted);
        }
    }

    /// The terminal of an app that was started again is there, or the app has ended without it.
    pub(super) fn terminal_settled(&mut self, app: usize) {
        if !std::mem::take(&mut self.apps[app].terminal_is_due) {
            return;
        }
        let of_app = |(id, waits): (&ConnectionId, &Waits)| match waits {
            Waits::Terminal { app: of, wanted } if *of == app => Some((*id, *wanted)),
            _ => None,
        };
        let clients: Vec<(ConnectionId, WantedStreams)> = self.waiting.iter().filter_map(of_app).collect();
        for (connection, wanted) in clients {
            self.waiting.remove(&connection);
            self.connect_with(connection, app, wanted);
        }
    }

    fn connect_with(&mut self, connection: ConnectionId, app: usize, wanted: WantedStreams) {
        let WantedStreams { streams: [stdin, stdout, stderr], alone } = wanted;
        let terminal = self.apps[app].has_terminal();
        let [has_stdout, has_stderr] = self.apps[app].has_outputs();
        let input = if stdin { self.outputs.input(app, alone && !terminal) } else { None };
        let (stdout, stderr) = (stdout && has_stdout, stderr && has_stderr);
        let mut fds = Vec::new();
        let mut connect = |wanted: bool, stream| {
            wanted.then(|| self.outputs.attach(app, stream, connection, alone)).transpose().map(|fd| fds.extend(fd))
        };
        let connected = connect(stdout, Stream::Stdout).and_then(|()| connect(stderr, Stream::Stderr));
        if let Err(errno) = connected {
            let what = format!("socketpair(): {}", std::io::Error::from(errno));
            return self.refuse(connection, RefusedKind::Failed(FailureKind::Setup), &what);
        }
        let all: Vec<BorrowedFd<'_>> = input.iter().chain(&fds).map(|fd| fd.as_fd()).collect();
        let reply = Reply::Attached { stdin: input.is_some(), stdout, stderr, terminal };
        self.reply_with(connection, &reply, &all);
    }
}
