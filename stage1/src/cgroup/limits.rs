//! Isolators of resources as the files of a control group (Documentation/admin-guide/cgroup-v2.rst).

use appc::isolator::limit::Limit;
use appc::{Annotations, Isolator, IsolatorValue};

use crate::isolators::choices;

/// Length of a period in which processor time is given out, in microseconds; the kernel's default.
const PERIOD_US: i64 = 100_000;
/// The weight of a group that does not say.
const USUAL_WEIGHT: i64 = 100;
/// Shortest time that the kernel gives out in a period.
const MIN_QUOTA_US: i64 = 1_000;

/// A file of a control group and what is to stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The controller it belongs to.
    pub controller: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub text: String,
}

/// Bounds of resources. What is `None` is not bounded, or as much as others have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory at most.
    pub memory_max: Option<i64>,
    /// Bytes of memory that are left alone while others have more.
    pub memory_low: Option<i64>,
    /// Thousandths of a processor at most.
    pub cpu_max_milli: Option<i64>,
    /// Share of the processors among siblings, from 1 to 10000; 100 is usual.
    pub cpu_weight: Option<i64>,
    /// Bytes a second from and to each disk at most, in either direction.
    pub block_bandwidth: Option<i64>,
    /// Operations a second of each disk at most, in either direction.
    pub block_iops: Option<i64>,
}

impl Limits {
    /// What the isolators of an app with these annotations, or of a pod, ask for; of several of a kind the last counts.
    /// An image gets no more weight than others have.
    #[must_use]
    pub fn of(isolators: &[Isolator], annotations: &Annotations) -> Self {
        let mut limits = Self::default();
        let value = |limit: &Limit| limit.limit.as_ref().map(|it| it.value());
        let approved = choices::approved(annotations).unwrap_or_default();
        let weighed = |isolator: &Isolator, weight: i64| {
            if approved.iter().any(|name| *isolator.name() == **name) { weight } else { weight.min(USUAL_WEIGHT) }
        };
        for isolator in isolators {
            match isolator.value() {
                IsolatorValue::Memory(limit) => {
                    limits.memory_max = value(limit);
                    limits.memory_low = own_request(limit).map(|it| it.value());
                }
                IsolatorValue::Cpu(limit) => {
                    limits.cpu_max_milli = limit.limit.as_ref().map(|it| it.milli_value());
                    // A thousand shares a processor, as with cgroup v1.
                    let request = own_request(limit).map(|it| weight(it.milli_value().saturating_mul(1024) / 1000));
                    limits.cpu_weight = limits.cpu_weight.or(request.map(|weight| weighed(isolator, weight)));
                }
                IsolatorValue::CpuShares(shares) => {
                    limits.cpu_weight = Some(weighed(isolator, weight(shares.get())));
                }
                IsolatorValue::BlockBandwidth(limit) => limits.block_bandwidth = value(limit),
                IsolatorValue::BlockIops(limit) => limits.block_iops = value(limit),
                _ => {}
            }
        }
        limits
    }

    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The files and their contents, each to be written in turn. `disks` gives the disks of the host as `MAJOR:MINOR`; it
    /// is asked only where there is a limit for them.
    #[must_use]
    pub fn files(&self, disks: impl FnOnce() -> Vec<String>) -> Vec<File> {
        let mut files = Vec::new();
        let mut file = |controller, name, text| files.push(File { controller, name, text });
        if let Some(bytes) = self.memory_max {
            file("memory", "memory.max", bytes.max(0).to_string());
            // An app that lost one of its processes is of no use: all go, and its end says why.
            file("memory", "memory.oom.group", "1".to_owned());
        }
        if let Some(bytes) = self.memory_low {
            file("memory", "memory.low", bytes.max(0).to_string());
        }
        if let Some(milli) = self.cpu_max_milli {
            let quota = milli.saturating_mul(PERIOD_US / 1000).max(MIN_QUOTA_US);
            file("cpu", "cpu.max", format!("{quota} {PERIOD_US}"));
        }
        if let Some(weight) = self.cpu_weight {
            file("cpu", "cpu.weight", weight.to_string());
        }
        if self.block_bandwidth.or(self.block_iops).is_some() {
            // The kernel refuses none at all.
            let both = |unit, most: Option<i64>| most.map(|most| format!(" r{unit}={0} w{unit}={0}", most.max(1)));
            let (bytes, operations) = (both("bps", self.block_bandwidth), both("iops", self.block_iops));
            let most = bytes.unwrap_or_default() + &operations.unwrap_or_default();
            disks().into_iter().for_each(|disk| file("io", "io.max", disk + &most));
        }
        files
    }
}

/// What is promised, where that is less than the limit or there is none: a request that was not made is the limit, and
/// says nothing about what is to be left alone.
fn own_request(limit: &Limit) -> Option<&appc::resource::Quantity> {
    limit.request.as_ref().filter(|request| limit.limit.as_ref() != Some(request))
}

/// Shares of cgroup v1, from 2 to 262144 with 1024 usual, as a weight of cgroup v2, from 1 to 10000 with 100 usual:
/// the ratio stays.
fn weight(shares: i64) -> i64 {
    (shares.saturating_mul(100) / 1024).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use appc::App;

    fn files(isolators: &str) -> Vec<String> {
        let json = format!(r#"{{"exec": ["x"], "user": "0", "group": "0", "isolators": [{isolators}]}}"#);
        let manifest = format!(r#"{{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "a", "app": {json}}}"#);
        let app: App = appc::ImageManifest::from_json(manifest.as_bytes()).expect("valid").app.expect("an app");
        let names: Vec<String> = app.isolators.iter().map(|isolator| isolator.name().to_string()).collect();
        let mut annotations = Annotations::default();
        let name = choices::OPERATOR_ISOLATORS.parse().expect("an identifier");
        annotations.set(name, serde_json::to_string(&names).expect("JSON"));
        let of_image = Limits::of(&app.isolators, &Annotations::default());
        assert!(of_image.cpu_weight.is_none_or(|weight| weight <= USUAL_WEIGHT), "an image has no more weight");
        Limits::of(&app.isolators, &annotations)
            .files(|| vec!["254:0".to_owned(), "8:16".to_owned()])
            .into_iter()
            .map(|file| format!("{}={}", file.name, file.text))
            .collect()
    }

    #[test]
    fn limits_and_requests() {
        let memory = r#"{"name": "resource/memory", "value": {"limit": "64Mi"}}"#;
        assert_eq!(files(memory), ["memory.max=67108864", "memory.oom.group=1"]);
        let both = r#"{"name": "resource/memory", "value": {"limit": "1G", "request": "500M"}}"#;
        assert_eq!(files(both), ["memory.max=1000000000", "memory.oom.group=1", "memory.low=500000000"]);
        let cpu = r#"{"name": "resource/cpu", "value": {"limit": "500m"}}"#;
        assert_eq!(files(cpu), ["cpu.max=50000 100000"]);
        let request = r#"{"name": "resource/cpu", "value": {"limit": "2", "request": "1"}}"#;
        assert_eq!(files(request), ["cpu.max=200000 100000", "cpu.weight=100"]);
        assert_eq!(files(r#"{"name": "os/linux/cpu-shares", "value": 512}"#), ["cpu.weight=50"]);
        assert!(files("").is_empty());
        let bandwidth = r#"{"name": "resource/block-bandwidth", "value": {"default": true, "limit": "2M"}}"#;
        assert_eq!(
            files(bandwidth),
            ["io.max=254:0 rbps=2000000 wbps=2000000", "io.max=8:16 rbps=2000000 wbps=2000000"]
        );
        let both =
            format!(r#"{bandwidth}, {{"name": "resource/block-iops", "value": {{"default": true, "limit": "0"}}}}"#);
        assert_eq!(files(&both)[0], "io.max=254:0 rbps=2000000 wbps=2000000 riops=1 wiops=1");
    }

    #[test]
    fn extremes_stay_within_what_the_kernel_takes() {
        assert_eq!(files(r#"{"name": "resource/cpu", "value": {"limit": "1n"}}"#), ["cpu.max=1000 100000"]);
        assert_eq!(files(r#"{"name": "os/linux/cpu-shares", "value": 2}"#), ["cpu.weight=1"]);
        assert_eq!(files(r#"{"name": "os/linux/cpu-shares", "value": 262144}"#), ["cpu.weight=10000"]);
        assert_eq!(files(r#"{"name": "resource/memory", "value": {"limit": "-5"}}"#)[0], "memory.max=0");
    }
}
