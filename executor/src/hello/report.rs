//! The report: who the apps are, and a line for each promise.

use std::fmt;

use super::facts::Facts;
use super::identity::Finding;
use super::judge;
use super::probe::{Doors, Foreign};

/// What can be known only with the other app at hand.
#[derive(Debug)]
pub(super) struct Meeting {
    pub(super) theirs: Facts,
    pub(super) findings: Findings,
}

/// What the two apps tried on each other; in pairs the greeter's result comes first.
#[derive(Debug)]
pub(super) struct Findings {
    /// Whether each read on the volume what the other wrote.
    pub(super) notes: (bool, bool),
    /// What each makes of the other's proof of identity.
    pub(super) identities: (Finding, Finding),
    /// What each could open of the other's process.
    pub(super) doors: (Doors, Doors),
    /// What the greeter could do with a descriptor of the responder's root directory.
    pub(super) foreign_root: Foreign,
    /// The port they met on.
    pub(super) port: u16,
}

/// How a promise fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Kept.
    Ok,
    /// Not there, because this kernel or file system has no such thing. Not a broken promise.
    Absent,
    /// Broken.
    Wrong,
}

/// One line: a promise and how it fares.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) verdict: Verdict,
    pub(super) name: &'static str,
    pub(super) detail: String,
}

impl Row {
    /// `good` where `holds`, else what is wrong.
    pub(super) fn check(name: &'static str, holds: bool, good: impl Into<String>, wrong: impl Into<String>) -> Self {
        if holds {
            Self { verdict: Verdict::Ok, name, detail: good.into() }
        } else {
            Self { verdict: Verdict::Wrong, name, detail: wrong.into() }
        }
    }

    /// Makes nothing of it where `absent`.
    pub(super) fn or_absent(mut self, absent: bool) -> Self {
        if absent {
            self.verdict = Verdict::Absent;
        }
        self
    }
}

/// The report of a pod of one or two apps.
#[derive(Debug)]
pub(super) struct Report {
    apps: Vec<Facts>,
    sections: Vec<(&'static str, Vec<Row>)>,
}

impl Report {
    /// Judges. `pid_one` and `control` are the doors of the pod's pid 1 and of the app itself.
    pub(super) fn new(mine: &Facts, meeting: Option<&Meeting>, (pid_one, control): &(Doors, Doors)) -> Self {
        let mut apps = vec![mine.clone()];
        let mut sections = Vec::new();
        let mut shut = vec![pid_one];
        let mut apart = Vec::new();
        if let Some(Meeting { theirs, findings }) = meeting {
            apps.push(theirs.clone());
            sections.push(("what the apps share", judge::together(mine, theirs, findings)));
            sections.push(("what they can prove", vec![judge::identities(&findings.identities)]));
            shut.extend([&findings.doors.0, &findings.doors.1]);
            apart.push(judge::own_namespaces(mine, theirs));
            apart.push(judge::landlock(findings.foreign_root));
        }
        apart.push(judge::other_processes(&shut, control));
        sections.push(("what keeps them apart", apart));
        sections.push(("what keeps them from this machine", judge::isolation(&apps)));
        Self { apps, sections }
    }

    /// Whether nothing is wrong.
    pub(super) fn all_well(&self) -> bool {
        self.wrong() == 0
    }

    fn wrong(&self) -> usize {
        let rows = self.sections.iter().flat_map(|(_, rows)| rows);
        rows.filter(|row| row.verdict == Verdict::Wrong).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.apps.len() == 1 { "a pod of one app" } else { "two apps in one pod" };
        writeln!(f, "hello from {what} (proa {})", env!("CARGO_PKG_VERSION"))?;
        for Facts { name, uid, gid, pid, hostname, .. } in &self.apps {
            writeln!(f, "    {name:<12}uid {uid}, gid {gid}, pid {pid}, host name {hostname}")?;
        }
        for (title, rows) in &self.sections {
            writeln!(f, "{title}")?;
            for Row { verdict, name, detail } in rows {
                let verdict = match verdict {
                    Verdict::Ok => "ok",
                    Verdict::Absent => "absent",
                    Verdict::Wrong => "WRONG",
                };
                writeln!(f, "    {verdict:<8}{name:<18}{detail}")?;
            }
        }
        match self.wrong() {
            0 => writeln!(f, "all is as promised"),
            count => writeln!(f, "{count} of these promises do not hold"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::capability::{APPC_DEFAULT, CapSet};
    use super::super::facts::NAMESPACES;
    use super::super::judge::OWN;
    use super::super::procfs::{Extent, Status};
    use super::*;

    fn facts(name: &str, uid: u32, first_namespace: u64) -> Facts {
        let namespaces = NAMESPACES.iter().zip(first_namespace..).map(|(kind, n)| ((*kind).to_owned(), n)).collect();
        Facts {
            name: name.into(),
            uid,
            gid: uid,
            pid: 2,
            hostname: "proa-1".into(),
            volume: "/data".into(),
            token: "t".into(),
            namespaces,
            id_map: vec![Extent { inside: 0, outside: 0, count: 65536 }],
            status: Status {
                effective: if uid == 0 { APPC_DEFAULT } else { CapSet(0) },
                bounding: APPC_DEFAULT,
                no_new_privs: Some(1),
                seccomp: Some(2),
                seccomp_filters: Some(1),
            },
            root_type: "overlay".into(),
            interfaces: vec!["lo".into()],
            max_processes: Some(4096),
            max_user_namespaces: Some(0),
            unmasked: vec![],
            writable: vec![],
        }
    }

    /// A pod where all is as it should be.
    fn good() -> (Facts, Meeting, (Doors, Doors)) {
        let mine = facts("greeter", 0, 100);
        let mut theirs = facts("responder", 1000, 100);
        theirs.pid = 3;
        theirs.volume = "/mnt/shared".into();
        for kind in OWN {
            theirs.namespaces.insert(kind.into(), 7);
        }
        let shut = Doors { open: vec![], tried: 5 };
        let control = Doors { open: vec!["/proc/self/x".into(); 5], tried: 5 };
        let doors = (shut.clone(), shut.clone());
        let verified = |app| Finding::Verified(format!("pod/1/app/{app}"), "proa:me@here".into());
        let identities = (verified("responder"), verified("greeter"));
        let findings = Findings { notes: (true, true), identities, doors, foreign_root: Foreign::Refused, port: 7007 };
        (mine, Meeting { theirs, findings }, (shut, control))
    }

    #[test]
    fn a_good_pod_reads_like_this() {
        let (mine, meeting, doors) = good();
        let report = Report::new(&mine, Some(&meeting), &doors);
        assert!(report.all_well());
        let expected = concat!(
            "hello from two apps in one pod (proa ",
            env!("CARGO_PKG_VERSION"),
            ")
    greeter     uid 0, gid 0, pid 2, host name proa-1
    responder   uid 1000, gid 1000, pid 3, host name proa-1
what the apps share
    ok      loopback          they met on 127.0.0.1:7007
    ok      names             AC_APP_NAME is greeter and responder
    ok      volume            each read the other's file, in /data and in /mnt/shared
    ok      namespaces        pid, net, ipc, uts are the same for both
what they can prove
    ok      identity          pod/1/app/greeter and pod/1/app/responder of proa:me@here, verified by each other
what keeps them apart
    ok      own namespaces    user, mnt are each app's own
    ok      Landlock          the other's root is shut even to one who holds a descriptor of it
    ok      other processes   environ, mem, root, cwd, exe of the other app and of pid 1: all 15 refused
what keeps them from this machine
    ok      user ids          root is not this machine's: 65536 user ids mapped
    ok      capabilities      greeter 14, responder none, all within the appc default, none over this machine
    ok      privileges        no executable can add any (no_new_privs)
    ok      system calls      filtered, 1 deep (seccomp)
    ok      user namespaces   no further ones can be made
    ok      kernel files      /proc/kcore, keys, interrupts, … hold nothing
    ok      kernel settings   /proc/sys and /sys are read-only
    ok      network           only the pod's own loopback
    ok      processes         at most 4096
    ok      root              an overlay: the image itself cannot be changed
all is as promised
"
        );
        assert_eq!(report.to_string(), expected);
    }

    /// Every single thing that can be wrong turns exactly its row, and the verdict.
    #[test]
    fn each_broken_promise_is_named() {
        type Break = fn(&mut Facts, &mut Meeting, &mut (Doors, Doors));
        let cases: [(Break, &str); 22] = [
            (
                |_, m, _| m.findings.identities.0 = Finding::Unproven("it is late".into()),
                "WRONG   identity          of responder: it is late",
            ),
            (|_, m, _| m.findings.identities.1 = Finding::Unproven("no".into()), "identity          of greeter: no"),
            (|_, m, _| m.theirs.name.clear(), r#"WRONG   names             AC_APP_NAME is "greeter" and """#),
            (|_, m, _| m.findings.notes.0 = false, "WRONG   volume"),
            (|_, m, _| m.findings.notes.1 = false, "WRONG   volume"),
            (|_, m, _| *m.theirs.namespaces.get_mut("ipc").unwrap() = 9, "WRONG   namespaces        differ: ipc"),
            (|_, m, _| m.theirs.hostname.push('x'), "WRONG   namespaces"),
            (
                |_, m, _| *m.theirs.namespaces.get_mut("user").unwrap() = 104,
                "own namespaces    the same for both: user",
            ),
            (
                |_, m, _| m.findings.doors.0.open.push("/proc/3/mem".into()),
                "WRONG   other processes   not refused: /proc/3/mem",
            ),
            (|_, m, _| m.findings.doors.1.open.push("/proc/2/mem".into()), "not refused: /proc/2/mem"),
            (|_, _, d| d.0.open.push("/proc/1/root".into()), "not refused: /proc/1/root"),
            (|_, _, d| d.1.open.truncate(4), "nothing is proved"),
            (|f, _, _| f.id_map[0].count = u64::from(u32::MAX), "WRONG   user ids"),
            (|f, _, _| f.id_map.clear(), "WRONG   user ids"),
            (|f, _, _| f.status.bounding.0 |= 1 << 21, "WRONG   capabilities      beyond the default: sys_admin"),
            (|_, m, _| m.theirs.status.effective.0 = 1, "WRONG   capabilities      in force without being root"),
            (|_, m, _| m.theirs.status.no_new_privs = Some(0), "WRONG   privileges"),
            (|f, _, _| f.status.seccomp = Some(0), "WRONG   system calls"),
            (|f, _, _| f.max_user_namespaces = None, "WRONG   user namespaces"),
            (
                |_, m, _| m.theirs.unmasked.push("/proc/keys".into()),
                "WRONG   kernel files      hold something: /proc/keys",
            ),
            (|f, _, _| f.interfaces.push("eth0".into()), "WRONG   network           interfaces: lo eth0"),
            (|f, _, _| f.max_processes = None, "WRONG   processes"),
        ];
        for (spoil, expected) in cases {
            let (mut mine, mut meeting, mut doors) = good();
            spoil(&mut mine, &mut meeting, &mut doors);
            let report = Report::new(&mine, Some(&meeting), &doors);
            let text = report.to_string();
            assert!(text.contains(expected), "{expected}: {text}");
            assert!(!report.all_well() && text.matches("WRONG").count() == 1, "{expected}: {text}");
            assert!(text.ends_with("1 of these promises do not hold\n"));
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_absent_and_no_failure() {
        let (mut mine, mut meeting, doors) = good();
        meeting.findings.foreign_root = Foreign::Opened;
        meeting.findings.identities = (Finding::Absent, Finding::Absent);
        mine.root_type = "ext4".into();
        let report = Report::new(&mine, Some(&meeting), &doors);
        let text = report.to_string();
        assert!(report.all_well(), "{text}");
        assert!(text.contains("absent  Landlock") && text.contains("absent  root              a copy"), "{text}");
        assert!(text.contains("absent  identity"), "{text}");
    }

    #[test]
    fn a_pod_of_one_reports_on_itself() {
        let (mine, _, doors) = good();
        let text = Report::new(&mine, None, &doors).to_string();
        assert!(text.starts_with("hello from a pod of one app"), "{text}");
        assert!(!text.contains("loopback          they met") && text.contains("of pid 1: all 5 refused"), "{text}");
    }

    #[test]
    fn one_user_id_is_enough() {
        let (mut mine, _, doors) = good();
        mine.id_map = vec![Extent { inside: 0, outside: 0, count: 1 }];
        assert!(Report::new(&mine, None, &doors).to_string().contains("1 user id mapped"));
    }
}
