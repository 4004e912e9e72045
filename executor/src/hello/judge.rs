//! Which promises the apps' findings keep.

use super::capability::{APPC_DEFAULT, CapSet};
use super::facts::Facts;
use super::identity::Finding;
use super::probe::{Doors, Foreign};
use super::report::{Findings, Row};

/// The namespaces that the apps of a pod have in common (appc pods.md); the others are each app's own.
const SHARED: [&str; 4] = ["pid", "net", "ipc", "uts"];

/// The namespaces that keep apps apart.
pub(super) const OWN: [&str; 2] = ["user", "mnt"];

/// What the apps have in common.
pub(super) fn together(mine: &Facts, theirs: &Facts, findings: &Findings) -> Vec<Row> {
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

/// Whether each believes the other's proof of identity: first what the greeter makes of the responder's.
pub(super) fn identities((responder, greeter): &(Finding, Finding)) -> Row {
    let name = "identity";
    match (greeter, responder) {
        (Finding::Verified(greeter, issuer), Finding::Verified(responder, other)) if issuer == other => {
            Row::check(name, true, format!("{greeter} and {responder} of {issuer}, verified by each other"), "")
        }
        (Finding::Absent, Finding::Absent) => {
            Row::check(name, false, "", "the apps have no sockets to ask at").or_absent(true)
        }
        pair => {
            let told = |app: &str, finding: &Finding| match finding {
                Finding::Verified(_, issuer) => format!("of {app}: in the name of {issuer}"),
                Finding::Absent => format!("of {app}: it has no socket to ask at"),
                Finding::Unproven(why) => format!("of {app}: {why}"),
            };
            let wrong = match pair {
                (Finding::Verified(..), responder) => told(super::RESPONDER, responder),
                (greeter, Finding::Verified(..)) => told(super::GREETER, greeter),
                (greeter, responder) => {
                    format!("{}; {}", told(super::GREETER, greeter), told(super::RESPONDER, responder))
                }
            };
            Row::check(name, false, "", wrong)
        }
    }
}

/// What each app has for itself.
pub(super) fn own_namespaces(mine: &Facts, theirs: &Facts) -> Row {
    let same = namespaces(&OWN, |kind| mine.namespaces.get(kind) == theirs.namespaces.get(kind));
    let good = format!("{} are each app's own", OWN.join(", "));
    Row::check("own namespaces", same.is_empty(), good, format!("the same for both: {same}"))
}

/// Whether a descriptor that leaks from one app to the other is of use.
pub(super) fn landlock(foreign: Foreign) -> Row {
    let refused = foreign == Foreign::Refused;
    // From inside, a kernel without Landlock cannot be told from an executor that forgot it; the tests of the
    // executor can.
    Row::check(
        "Landlock",
        refused,
        "the other's root is shut even to one who holds a descriptor of it",
        "a descriptor of the other's root, if it were leaked, could be used",
    )
    .or_absent(!refused)
}

/// Whether the doors into other processes are `shut`. Those of the `control`, the app itself, must be open: otherwise
/// refusals say nothing.
pub(super) fn other_processes(shut: &[&Doors], control: &Doors) -> Row {
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

/// What keeps the apps from the machine that runs them.
pub(super) fn isolation(apps: &[Facts]) -> Vec<Row> {
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
