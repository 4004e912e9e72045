//! Many processes that create, run, remove, list and collect the same pods at once.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use appc::PodUuid;
use pod::{PodEntry, PodError, PodName, Pods, State, Unaided};
use rustix::fs::{FlockOperation, flock};
use support::{Data, everything};

const PROCESSES: u32 = 8;
const DURATION: Duration = Duration::from_secs(3);

/// A small generator of numbers (xorshift): a run is repeatable but for the scheduling.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What an error may be when others work on the same pods.
fn expected(error: &PodError) -> bool {
    matches!(error, PodError::NameInUse { .. } | PodError::NotFound { .. } | PodError::WrongState { .. })
}

fn check<T>(what: &str, result: Result<T, PodError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(e) if expected(&e) => None,
        Err(e) => panic!("{what}: {e:?}"),
    }
}

/// Creates a pod, checks that nobody touches it while it lives, and leaves it in one of several ways.
fn live(pods: &Pods, data_dir: &Path, dice: &mut Dice) {
    let name: Option<PodName> = (dice.roll(2) == 0).then(|| format!("name-{}", dice.roll(3)).parse().unwrap());
    let uuid = PodUuid::new_v4();
    let Some(pod) = check("create", pods.create(uuid, name.as_ref())) else { return };
    // The name is ours alone: so must be this lock, which the kernel frees if we are killed.
    let exclusive = name.as_ref().map(|name| File::create(data_dir.join(format!("holder-of-{name}"))).unwrap());
    if let Some(file) = &exclusive {
        flock(file, FlockOperation::NonBlockingLockExclusive).expect("two pods have one name");
    }
    let pod = pod.prepare().unwrap();
    pod.write_manifest(uuid.to_string().as_bytes()).unwrap();
    pod.add_app(&"main".parse().unwrap(), None).unwrap();
    let path = data_dir.join("pods").join("run").join(uuid.to_string());
    match dice.roll(8) {
        0 => {
            // From its removal on others may take its name, so the test's own lock goes first.
            drop(exclusive);
            return pod.remove(&Unaided).unwrap();
        }
        1 => {
            drop(exclusive);
            pod.into_prepared(false).unwrap();
            return;
        }
        _ => {}
    }
    let pod = pod.into_running().unwrap();
    pod.mark_started().unwrap();
    for _ in 0..dice.roll(5) {
        assert_eq!(fs::read_to_string(path.join("pod")).unwrap(), uuid.to_string());
        assert_eq!(pods.find(&uuid.to_string()).unwrap().state, State::Running);
        if let Some(name) = &name {
            assert_eq!(pods.find(name.as_str()).unwrap().uuid, uuid);
        }
    }
    pod.write_pod_status(0).unwrap();
    drop(exclusive);
    if dice.roll(2) == 0 { pod.remove(&Unaided).unwrap() } else { drop(pod) }
}

fn work(data_dir: &Path, seed: u64, until: Instant) {
    let pods = Pods::ensure(data_dir).unwrap();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    while Instant::now() < until {
        let any = |dice: &mut Dice, state: State| -> Option<PodEntry> {
            let all: Vec<_> = pods.list().unwrap().into_iter().filter(|entry| entry.state == state).collect();
            (!all.is_empty()).then(|| all[dice.roll(all.len())].clone())
        };
        match dice.roll(10) {
            0 => {
                let report = pods.gc(&everything(), &Unaided).unwrap();
                assert!(report.failures.iter().all(|(_, e)| expected(e)), "{report:?}");
            }
            1 => {
                if let Some(entry) = any(&mut dice, State::Exited) {
                    check("remove", pods.remove(entry.uuid, &Unaided));
                }
            }
            2 => {
                if let Some(entry) = any(&mut dice, State::Running) {
                    check("remove", pods.remove(entry.uuid, &Unaided));
                }
            }
            3 => {
                if let Some(entry) = any(&mut dice, State::Prepared)
                    && let Some(pod) = check("run_prepared", pods.run_prepared(entry.uuid, None))
                {
                    pod.write_pod_status(0).unwrap();
                    pod.remove(&Unaided).unwrap();
                }
            }
            4 => {
                if let Some(entry) = any(&mut dice, State::Exited)
                    && let Some(record) = check("open", pods.open(&entry))
                {
                    // It may be removed under our hands, but it is never half written.
                    match record.manifest_bytes() {
                        Ok(bytes) => assert_eq!(bytes, entry.uuid.to_string().as_bytes()),
                        Err(e) => assert_eq!(e.errno(), Some(rustix::io::Errno::NOENT), "{e}"),
                    }
                }
            }
            _ => live(&pods, data_dir, &mut dice),
        }
    }
}

fn start(data_dir: &Path, test: &str, seed: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("POD_TEST_SEED", seed.to_string())
        .env("POD_TEST_DATA", data_dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The part of a process that was started by [`start`]; `false` in the test itself.
fn is_helper() -> bool {
    let (Ok(seed), Some(dir)) = (std::env::var("POD_TEST_SEED"), std::env::var_os("POD_TEST_DATA")) else {
        return false;
    };
    work(Path::new(&dir), seed.parse().unwrap(), Instant::now() + DURATION);
    true
}

fn assert_clean(data: &Data) {
    let report = data.gc_everything();
    assert!(report.failures.is_empty(), "{report:?}");
    assert!(data.left().is_empty(), "{:?}", data.left());
}

#[test]
fn eight_processes_on_the_same_pods() {
    if is_helper() {
        return;
    }
    let data = Data::new();
    let helpers: Vec<Child> =
        (0..PROCESSES).map(|n| start(data.dir.path(), "eight_processes_on_the_same_pods", n)).collect();
    for mut helper in helpers {
        assert!(helper.wait().unwrap().success());
    }
    assert_clean(&data);
}

#[test]
fn eight_processes_of_which_one_after_the_other_is_killed() {
    if is_helper() {
        return;
    }
    let data = Data::new();
    let test = "eight_processes_of_which_one_after_the_other_is_killed";
    let mut helpers: Vec<Child> = (0..PROCESSES).map(|n| start(data.dir.path(), test, n)).collect();
    let until = Instant::now() + DURATION;
    let mut killed = 0;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(60));
        let mut helper = helpers.remove(0);
        helper.kill().unwrap();
        let status = helper.wait().unwrap();
        assert!(status.code().is_none_or(|code| code == 0), "{status}");
        killed += 1;
        helpers.push(start(data.dir.path(), test, PROCESSES + killed));
    }
    for mut helper in helpers {
        assert!(helper.wait().unwrap().success());
    }
    assert_clean(&data);
}

#[test]
fn creation_goes_on_under_constant_collection() {
    let data = Data::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    data.gc_everything();
                }
            });
        }
        let creators: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let pod = data.running(None);
                        assert_eq!(data.pods.find(&pod.uuid().to_string()).unwrap().state, State::Running);
                        pod.remove(&Unaided).unwrap();
                    }
                })
            })
            .collect();
        let failed = creators.into_iter().map(|creator| creator.join().is_err()).fold(false, |a, b| a | b);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(!failed);
    });
    assert_clean(&data);
}
