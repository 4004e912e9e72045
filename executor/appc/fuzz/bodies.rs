//! What must hold whatever a reader of this crate is given: no panic, and what is taken prints as something that reads
//! back as the same value. The fuzz targets and the property tests run these same bodies.

use appc::lastditch::{BrokenImage, BrokenPod};
use appc::resource::Quantity;
use appc::{
    AcIdentifier, AcName, App, Dialect, Hash, ImageId, ImageManifest, ImageString, Kind, MountPoint, PodManifest,
    PodUuid, Port, SemVer, Volume,
};

/// Lets every reader of image manifests loose on the bytes.
pub(crate) fn image_manifest(bytes: &[u8]) {
    for dialect in [Dialect::Proa, Dialect::Actool] {
        let _ = Kind::of(bytes, dialect);
        if let Ok(image) = ImageManifest::from_json_in(bytes, dialect)
            && let Ok(json) = image.to_json()
        {
            let again = ImageManifest::from_json_in(&json, dialect);
            assert_eq!(again.as_ref(), Ok(&image));
            assert_eq!(again.and_then(|image| image.to_json()), Ok(json));
        }
    }
    if let Err(error) = ImageManifest::from_json(bytes) {
        let _ = (error.to_string(), error.located().to_string());
    }
    let _ = BrokenImage::from_json(bytes);
    let _ = (serde_json::from_slice::<ImageManifest>(bytes), serde_json::from_slice::<App>(bytes));
}

/// Lets every reader of pod manifests loose on the bytes.
pub(crate) fn pod_manifest(bytes: &[u8]) {
    for dialect in [Dialect::Proa, Dialect::Actool] {
        if let Ok(pod) = PodManifest::from_json_in(bytes, dialect)
            && let Ok(json) = pod.to_json()
        {
            assert_eq!(PodManifest::from_json_in(&json, dialect).as_ref(), Ok(&pod));
        }
    }
    if let Err(error) = PodManifest::from_json(bytes) {
        let _ = (error.to_string(), error.located().to_string());
    }
    let _ = BrokenPod::from_json(bytes);
    let _ = serde_json::from_slice::<PodManifest>(bytes);
}

/// A quantity prints canonically, and that is the same amount.
pub(crate) fn quantity(text: &str) {
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    assert_eq!(quantity.to_string().parse(), Ok(quantity.clone()));
    let reread = |quantity: &Quantity| quantity.canonical().parse::<Quantity>().expect("canonical text parses");
    let again = reread(&quantity);
    assert_eq!(again.nano_value(), quantity.nano_value());
    // 812.5Ki is 832000 and has no suffix that says it was binary; read again it is 832k, and stays so.
    assert_eq!(reread(&again).canonical(), again.canonical());
    let (value, milli) = (quantity.value(), quantity.milli_value());
    assert!(milli.unsigned_abs() >= value.unsigned_abs() || value == i64::MIN);
}

/// The command-line form of a volume.
pub(crate) fn volume(text: &str) {
    if let Ok(volume) = text.parse::<Volume>() {
        assert_eq!(volume.to_string().parse(), Ok(volume));
    }
}

/// The command-line form of a mount point.
pub(crate) fn mount_point(text: &str) {
    if let Ok(mount_point) = text.parse::<MountPoint>() {
        assert!(!mount_point.path.is_empty());
    }
}

/// The command-line form of a port.
pub(crate) fn port(text: &str) {
    if let Ok(port) = text.parse::<Port>() {
        assert_eq!(port.to_string().parse(), Ok(port));
    }
}

/// The command-line form of an image.
pub(crate) fn image_string(text: &str) {
    if let Ok(image) = text.parse::<ImageString>() {
        let again: ImageString = image.to_string().parse().expect("it prints in a form that parses");
        assert_eq!(again.name, image.name);
        assert!(again.labels.satisfy(&image.labels) && image.labels.satisfy(&again.labels));
    }
}

/// Names, versions, hashes, IDs, addresses and dates.
pub(crate) fn scalars(text: &str) {
    macro_rules! parse {
        ($($scalar:ty),*) => {$(
            if let Ok(value) = text.parse::<$scalar>() {
                assert_eq!(value.to_string().parse::<$scalar>(), Ok(value));
            }
        )*};
    }
    parse!(AcName, AcIdentifier, SemVer, Hash, ImageId, PodUuid, appc::url::Url);
    let _ = text.parse::<appc::date::Date>();
    if let Ok(name) = AcIdentifier::sanitize(text) {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Ok(name) = AcName::sanitize(text) {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}
