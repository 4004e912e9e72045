//! The verdict on what the apps found, as text.

use std::fmt;

use super::capability::{APPC_DEFAULT, CapSet};
use super::facts::Facts;
use super::probe::{Doors, Foreign};

/// The namespaces that the apps of a pod have in common (appc pods.md); the others are each app's own.
const SHARED: [&str; 4] = ["pid", "net", "ipc", "uts"];

/// The namespaces that keep apps apart.
const OWN: [&str; 2] = ["user", "mnt"];

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
    /// What each could open of the other's process.
    pub(super) doors: (Doors, Doors),
    /// What the greeter could do with a descriptor of the responder's root directory.
    pub(super) foreign_root: Foreign,
    /// The port they met on.
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Not there, because this kernel or file system has no such thing. Not a broken promise.
    Absent,
    Wrong,
}

#[derive(Debug)]
struct Row {
    verdict: Verdict,
    name: &'static str,
    detail: String,
}

impl Row {
    /// `good` where `holds`, else what is wrong.
    fn check(name: &'static str, holds: bool, good: impl Into<String>, wrong: impl Into<String>) -> Self {
        if holds {
            Self { verdict: Verdict::Ok, name, detail: good.into() }
        } else {
            Self { verdict: Verdict::Wrong, name, detail: wrong.into() }
        }
    }

    fn or_absent(mut self, absent: bool) -> Self {
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
            sections.push(("what the apps share", together(mine, theirs, findings)));
            shut.extend([&findings.doors.0, &findings.doors.1]);
            apart.push(own_namespaces(mine, theirs));
            apart.push(landlock(findings.foreign_root));
        }
        apart.push(other_processes(&shut, control));
        sections.push(("what keeps them apart", apart));
        sections.push(("what keeps them from this machine", isolation(&apps)));
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

fn together(mine: &Facts, theirs: &Facts, findings: &Findings) -> Vec<Row> {
    let names = (mine.name.as_str(), theirs.name.as_str());
    let differing = namespaces(&SHARED, |kind| mine.namespaces.get(kind) != theirs.namespaces.get(kind));
    vec![
        Row::check("loopback", true, format!("they met on 127.0.0.1:{}", findings.port), ""),
        Row::check(
            "names",
            names == (super::GREETER, super::RESPONDER),
            format!("AC_APP_NAME is {} and {}", names.0, names.1),
            format!("AC_APP_NAME is {:?} and {:?}", names.0, names.1),
        ),
        Row::check(
            "volume",
            findings.notes == (true, true),
            format!("each read the other's file, in {} and in {}", mine.volume, theirs.volume),
            "a file of one app is not what the other one reads",
        ),
        Row::check(
            "namespaces",
            differing.is_empty() && mine.hostname == theirs.hostname,
            format!("{} are the same for both", SHARED.join(", ")),
            format!("differ: {differing}"),
        ),
    ]
}

fn own_namespaces(mine: &Facts, theirs: &Facts) -> Row {
    let same = namespaces(&OWN, |kind| mine.namespaces.get(kind) == theirs.namespaces.get(kind));
    let good = format!("{} are each app's own", OWN.join(", "));
    Row::check("own namespaces", same.is_empty(), good, format!("the same for both: {same}"))
}

fn landlock(foreign: Foreign) -> Row {
    let refused = foreign == Foreign::Refused;
    let row = Row::check("Landlock", refused, "the other's root is shut even to one who holds a descriptor of it", "");
    if refused {
        return row;
    }
    // From inside, a kernel without Landlock cannot be told from an executor that forgot it; the tests of the
    // executor can.
    Row { detail: "a descriptor of the other's root, if it were leaked, could be used".to_owned(), ..row }
        .or_absent(true)
}

fn other_processes(shut: &[&Doors], control: &Doors) -> Row {
    let open: Vec<&str> = shut.iter().flat_map(|doors| &doors.open).map(String::as_str).collect();
    let tried: usize = shut.iter().map(|doors| doors.tried).sum();
    if control.open.len() != control.tried {
        return Row::check(
            "other processes",
            false,
            "",
            "this app cannot even open its own /proc/self: nothing is proved",
        );
    }
    let whose = if shut.len() == 1 { "of pid 1" } else { "of the other app and of pid 1" };
    Row::check(
        "other processes",
        open.is_empty(),
        format!("environ, mem, root, cwd, exe {whose}: all {tried} refused"),
        format!("not refused: {}", open.join(" ")),
    )
}

fn isolation(apps: &[Facts]) -> Vec<Row> {
    vec![
        ids(apps),
        capabilities(apps),
        Row::check(
            "privileges",
            apps.iter().all(|app| app.status.no_new_privs == Some(1)),
            "no executable can add any (no_new_privs)",
            "an executable could add some: no_new_privs is off",
        ),
        system_calls(apps),
        Row::check(
            "user namespaces",
            apps.iter().all(|app| app.max_user_namespaces == Some(0)),
            "no further ones can be made",
            "further ones can be made: user.max_user_namespaces is not 0",
        ),
        lists(
            "kernel files",
            apps,
            |app| &app.unmasked,
            "/proc/kcore, keys, interrupts, … hold nothing",
            "hold something",
        ),
        lists("kernel settings", apps, |app| &app.writable, "/proc/sys and /sys are read-only", "writable"),
        Row::check(
            "network",
            apps.iter().all(|app| app.interfaces == ["lo"]),
            "only the pod's own loopback",
            format!("interfaces: {}", apps[0].interfaces.join(" ")),
        ),
        processes(apps),
        root(apps),
    ]
}

/// An id map that spans all ids is the initial namespace's: root inside would be root outside.
fn ids(apps: &[Facts]) -> Row {
    let counts: Vec<u64> = apps.iter().map(|app| app.id_map.iter().map(|extent| extent.count).sum()).collect();
    let text = |count: &u64| if *count == 1 { "1 user id".to_owned() } else { format!("{count} user ids") };
    let mut texts: Vec<String> = counts.iter().map(text).collect();
    texts.dedup();
    let good = format!("root is not this machine's: {} mapped", texts.join(" and "));
    let holds = counts.iter().all(|count| (1..u64::from(u32::MAX)).contains(count));
    Row::check("user ids", holds, good, "every user id of this machine is mapped")
}

fn capabilities(apps: &[Facts]) -> Row {
    let held = |app: &Facts| app.status.effective.with(app.status.bounding);
    let too_many = apps.iter().fold(CapSet::default(), |all, app| all.with(held(app))).without(APPC_DEFAULT);
    let idle = apps.iter().all(|app| app.uid == 0 || app.status.effective.len() == 0);
    let count = |app: &Facts| match app.status.effective.len() {
        0 => format!("{} none", app.name),
        some => format!("{} {some}", app.name),
    };
    let good = apps.iter().map(count).collect::<Vec<_>>().join(", ");
    let good = format!("{good}, all within the appc default, none over this machine");
    let wrong = if idle { format!("beyond the default: {too_many}") } else { "in force without being root".to_owned() };
    Row::check("capabilities", too_many.len() == 0 && idle, good, wrong)
}

fn system_calls(apps: &[Facts]) -> Row {
    const FILTER: u64 = 2;
    let status = apps[0].status;
    let filters = status.seccomp_filters.map_or_else(String::new, |count| format!(", {count} deep"));
    let holds = apps.iter().all(|app| app.status.seccomp == Some(FILTER));
    Row::check("system calls", holds, format!("filtered{filters} (seccomp)"), "not filtered: no seccomp filter")
}

fn lists(name: &'static str, apps: &[Facts], list: fn(&Facts) -> &Vec<String>, good: &str, wrong: &str) -> Row {
    let mut bad: Vec<&str> = apps.iter().flat_map(list).map(String::as_str).collect();
    bad.sort_unstable();
    bad.dedup();
    Row::check(name, bad.is_empty(), good, format!("{wrong}: {}", bad.join(" ")))
}

fn processes(apps: &[Facts]) -> Row {
    let limit = apps.iter().map(|app| app.max_processes).collect::<Option<Vec<u64>>>();
    let lowest = limit.as_ref().and_then(|limits| limits.iter().min()).copied().unwrap_or_default();
    Row::check("processes", limit.is_some(), format!("at most {lowest}"), "any number: RLIMIT_NPROC is not set")
}

fn root(apps: &[Facts]) -> Row {
    let types: Vec<&str> = apps.iter().map(|app| app.root_type.as_str()).collect();
    let holds = types.iter().all(|kind| *kind == "overlay");
    let other = format!("a copy of the image on {}, for want of overlay", types[0]);
    Row::check("root", holds, "an overlay: the image itself cannot be changed", other).or_absent(!holds)
}

fn namespaces(kinds: &[&str], picked: impl Fn(&str) -> bool) -> String {
    kinds.iter().copied().filter(|kind| picked(kind)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::facts::NAMESPACES;
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
        let findings = Findings { notes: (true, true), doors, foreign_root: Foreign::Refused, port: 7007 };
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
        let cases: [(Break, &str); 20] = [
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
        mine.root_type = "ext4".into();
        let report = Report::new(&mine, Some(&meeting), &doors);
        let text = report.to_string();
        assert!(report.all_well(), "{text}");
        assert!(text.contains("absent  Landlock") && text.contains("absent  root              a copy"), "{text}");
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
