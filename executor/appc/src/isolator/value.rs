//! What an isolator means: its name and value, turned into a type each.

use std::collections::BTreeMap;

use super::capabilities::CapabilitySet;
use super::confinement::{ApparmorProfile, SelinuxContext};
use super::limit::Limit;
use super::scheduling::{CpuShares, OomScoreAdj};
use super::seccomp::SeccompSet;
use super::{IsolatorError, names};
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::name::AcIdentifier;

/// The meaning of an isolator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsolatorValue {
    /// Bytes a second of block device transfer.
    BlockBandwidth(Limit),
    /// Block device operations a second.
    BlockIops(Limit),
    /// Processor cores.
    Cpu(Limit),
    /// Bytes of memory.
    Memory(Limit),
    /// Bits a second of network transfer.
    NetworkBandwidth(Limit),
    /// The capabilities an app has, and no others.
    CapabilitiesRetain(CapabilitySet),
    /// The capabilities taken from an app's default ones.
    CapabilitiesRemove(CapabilitySet),
    /// Whether an app can never gain privileges by executing a file.
    NoNewPrivileges(bool),
    /// The only system calls an app may make.
    SeccompRetain(SeccompSet),
    /// The system calls an app may not make.
    SeccompRemove(SeccompSet),
    /// How gladly the kernel kills an app when memory is short.
    OomScoreAdj(OomScoreAdj),
    /// The app's weight in sharing processor time.
    CpuShares(CpuShares),
    /// The SELinux context an app runs in.
    SelinuxContext(SelinuxContext),
    /// The AppArmor profile an app runs under.
    ApparmorProfile(ApparmorProfile),
    /// Kernel parameters of the pod. The keys are not checked here.
    Sysctl(BTreeMap<String, String>),
    /// A name we do not know. An executor may ignore it but must say so (appc ace.md, Isolators).
    Unknown,
}

impl IsolatorValue {
    /// The name manifests know it by; none for [`IsolatorValue::Unknown`].
    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::BlockBandwidth(_) => names::BLOCK_BANDWIDTH,
            Self::BlockIops(_) => names::BLOCK_IOPS,
            Self::Cpu(_) => names::CPU,
            Self::Memory(_) => names::MEMORY,
            Self::NetworkBandwidth(_) => names::NETWORK_BANDWIDTH,
            Self::CapabilitiesRetain(_) => names::CAPABILITIES_RETAIN,
            Self::CapabilitiesRemove(_) => names::CAPABILITIES_REMOVE,
            Self::NoNewPrivileges(_) => names::NO_NEW_PRIVILEGES,
            Self::SeccompRetain(_) => names::SECCOMP_RETAIN,
            Self::SeccompRemove(_) => names::SECCOMP_REMOVE,
            Self::OomScoreAdj(_) => names::OOM_SCORE_ADJ,
            Self::CpuShares(_) => names::CPU_SHARES,
            Self::SelinuxContext(_) => names::SELINUX_CONTEXT,
            Self::ApparmorProfile(_) => names::APPARMOR_PROFILE,
            Self::Sysctl(_) => names::SYSCTL,
            Self::Unknown => return None,
        })
    }

    /// Reads the value of the isolator called `name`; a known one must have a value.
    pub(super) fn read(name: &AcIdentifier, cx: &mut Cx, value: Option<View<'_>>) -> Result<Self, Invalid> {
        let Some(name) = names::ALL.into_iter().find(|known| name == known) else { return Ok(Self::Unknown) };
        let view = value.ok_or_else(|| cx.invalid(IsolatorError::ValueMissing { name }))?;
        cx.enter("value", |cx| Self::read_known(name, cx, view))
    }

    fn read_known(name: &str, cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        Ok(match name {
            names::BLOCK_BANDWIDTH => Self::BlockBandwidth(Limit::read(cx, view, Limit::check_default_only)?),
            names::BLOCK_IOPS => Self::BlockIops(Limit::read(cx, view, Limit::check_default_only)?),
            names::NETWORK_BANDWIDTH => Self::NetworkBandwidth(Limit::read(cx, view, Limit::check_default_only)?),
            names::CPU => Self::Cpu(Limit::read(cx, view, Limit::check_own)?),
            names::MEMORY => Self::Memory(Limit::read(cx, view, Limit::check_own)?),
            names::CAPABILITIES_RETAIN => Self::CapabilitiesRetain(FromJson::from_json(cx, view)?),
            names::CAPABILITIES_REMOVE => Self::CapabilitiesRemove(FromJson::from_json(cx, view)?),
            names::NO_NEW_PRIVILEGES => Self::NoNewPrivileges(cx.complete(|cx| bool::from_json(cx, view))?),
            names::SECCOMP_RETAIN => Self::SeccompRetain(FromJson::from_json(cx, view)?),
            names::SECCOMP_REMOVE => Self::SeccompRemove(FromJson::from_json(cx, view)?),
            names::OOM_SCORE_ADJ => Self::OomScoreAdj(FromJson::from_json(cx, view)?),
            names::CPU_SHARES => Self::CpuShares(FromJson::from_json(cx, view)?),
            names::SELINUX_CONTEXT => Self::SelinuxContext(FromJson::from_json(cx, view)?),
            names::APPARMOR_PROFILE => Self::ApparmorProfile(FromJson::from_json(cx, view)?),
            names::SYSCTL => Self::Sysctl(cx.complete(|cx| Ok(cx.string_map(view)))?),
            _ => Self::Unknown,
        })
    }

    /// Checks what a value made in code could break.
    ///
    /// # Errors
    /// See [`IsolatorError`].
    pub fn validate(&self) -> Result<(), IsolatorError> {
        match self {
            Self::BlockBandwidth(limit) | Self::BlockIops(limit) | Self::NetworkBandwidth(limit) => {
                limit.check_default_only()
            }
            Self::Cpu(limit) | Self::Memory(limit) => limit.check_own(),
            _ => Ok(()),
        }
    }
}

impl ToJson for IsolatorValue {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        match self {
            Self::BlockBandwidth(limit)
            | Self::BlockIops(limit)
            | Self::Cpu(limit)
            | Self::Memory(limit)
            | Self::NetworkBandwidth(limit) => limit.to_json(printer),
            Self::CapabilitiesRetain(set) | Self::CapabilitiesRemove(set) => set.to_json(printer),
            Self::NoNewPrivileges(value) => value.to_json(printer),
            Self::SeccompRetain(set) | Self::SeccompRemove(set) => set.to_json(printer),
            Self::OomScoreAdj(adjustment) => adjustment.get().to_json(printer),
            Self::CpuShares(shares) => shares.get().to_json(printer),
            Self::SelinuxContext(context) => context.to_json(printer),
            Self::ApparmorProfile(profile) => profile.to_json(printer),
            Self::Sysctl(parameters) => parameters.to_json(printer),
            Self::Unknown => None::<View<'_>>.to_json(printer),
        }
    }
}
