//! Ports, volumes and mount points, in manifests and in the forms the command line takes; image strings.

use appc::{ImageString, MountPoint, Port, Volume, VolumeKind};

use crate::{image_with_app, pod, refusal};

fn volume(text: &str) -> Result<Volume, String> {
    text.parse().map_err(|error: appc::ParameterError| error.to_string())
}

fn mount_point(text: &str) -> Result<MountPoint, String> {
    text.parse().map_err(|error: appc::ParameterError| error.to_string())
}

fn port(text: &str) -> Result<Port, String> {
    text.parse().map_err(|error: appc::ParameterError| error.to_string())
}

fn image_string(text: &str) -> Result<ImageString, String> {
    text.parse().map_err(|error: appc::image_string::ImageStringError| error.to_string())
}

fn json_port(fields: &str) -> Result<Port, appc::ManifestError> {
    let image = image_with_app(&format!(r#""ports":[{{{fields}}}]"#))?;
    Ok(image.app.expect("an app").ports.remove(0))
}

#[test]
fn port_ranges_in_a_manifest() {
    let out_of_range = "port must be in 1-65535 range";
    for number in ["0", "65536", "88888"] {
        assert_eq!(refusal(json_port(&format!(r#""port":{number}"#))), out_of_range);
    }
    assert_eq!(refusal(json_port("")), out_of_range);
    let end = "end of port range must be in 1-65535 range";
    for range in
        [r#""port":65535,"count":2"#, r#""port":32456,"count":45678"#, r#""port":1,"count":18446744073709551615"#]
    {
        assert_eq!(refusal(json_port(range)), end);
    }
    for (fields, count) in [
        (r#""port":65535,"count":1"#, 1),
        (r#""port":65535"#, 1),
        (r#""port":65535,"count":0"#, 1),
        (r#""port":80,"count":null"#, 1),
        (r#""port":32456,"count":100"#, 100),
        (r#""port":1,"count":65535"#, 65535),
    ] {
        assert_eq!(json_port(fields).expect(fields).count, count);
    }
}

#[test]
fn port_strings() {
    let full = port("query,protocol=tcp,port=8080,count=2,socketActivated=true").expect("valid");
    assert_eq!((full.name.as_str(), full.protocol.as_str(), full.port, full.count), ("query", "tcp", 8080, 2));
    assert!(full.socket_activated);
    assert_eq!(port(&full.to_string()), Ok(full));
    assert_eq!(port("health-check,protocol=udp,port=8000").expect("valid").count, 0, "unlike in a manifest");
    let bad = [
        ("p", "port must be in 1-65535 range"),
        ("p,port=0", "port must be in 1-65535 range"),
        ("p,port=65535,count=2", "end of port range must be in 1-65535 range"),
        ("p,port=65536", "strconv.ParseUint: parsing \"65536\": value out of range"),
        ("p,port=-1", "strconv.ParseUint: parsing \"-1\": invalid syntax"),
        ("p,port=+1", "strconv.ParseUint: parsing \"+1\": invalid syntax"),
        ("p,port=80,count=x", "strconv.ParseUint: parsing \"x\": invalid syntax"),
        ("p,port=80,socketActivated=yes", "strconv.ParseBool: parsing \"yes\": invalid syntax"),
        ("p,port=80,hue=red", "unknown port parameter \"hue\""),
        ("P,port=80", "ACName must contain only lower case alphanumeric characters plus \"-\""),
    ];
    for (text, message) in bad {
        assert_eq!(port(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn volume_strings_print_as_they_were_read() {
    for text in [
        "foobar,kind=host,source=/tmp",
        "foobar,kind=host,source=/tmp,readOnly=false",
        "foobar,kind=host,source=/tmp,readOnly=true",
        "foobar,kind=host,source=/tmp,recursive=false",
        "foobar,kind=host,source=/tmp,recursive=true",
        "foobar,kind=host,source=/tmp,readOnly=true,recursive=true",
        "foobar,kind=empty",
        "foobar,kind=empty,readOnly=true",
        "foobar,kind=empty,readOnly=true,mode=0777",
        "foobar,kind=empty,mode=0777,uid=1000",
        "foobar,kind=empty,mode=0777,uid=1000,gid=1000",
        "foobar,kind=empty,mode=",
        "foobar,kind=host,source=/a=b+c&d;e#f%g$h é",
    ] {
        assert_eq!(volume(text).expect(text).to_string(), text);
    }
    let all = volume("foobar,kind=host,source=/tmp,readOnly=0,recursive=T").expect("valid");
    assert_eq!(all.read_only, Some(false));
    assert_eq!(all.kind, VolumeKind::Host { source: "/tmp".to_owned(), recursive: Some(true) });
}

#[test]
fn bad_volume_strings() {
    for (text, message) in [
        ("#foobar,kind=host,source=/tmp", "ACName must contain only lower case alphanumeric characters plus \"-\""),
        ("foobar,kind=host,source=/tmp,readOnly=true,asdf=asdf", "unknown volume parameter \"asdf\""),
        ("foobar,kind=host,source=tmp", "source for host volume must be absolute path"),
        ("foobar,kind=host,uid=3", "source for host volume cannot be empty"),
        ("foobar,kind=host,source=/x,uid=3", "uid for host volume cannot be set"),
        ("foobar,kind=host,source=/x,mode=0755", "mode for host volume cannot be set"),
        ("foobar,kind=host,source=x,mode=0600,readOnly=true,gid=0", "mode for host volume cannot be set"),
        ("foobar,kind=host,source=/x,gid=0", "gid for host volume cannot be set"),
        ("foobar,kind=empty,source=/tmp", "source for empty volume must be empty"),
        ("foobar,kind=host,source=/tmp,recursive=MAYBE", "strconv.ParseBool: parsing \"MAYBE\": invalid syntax"),
        ("foobar,kind=empty,uid=x", "strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            "foobar,kind=empty,uid=9223372036854775808",
            "strconv.Atoi: parsing \"9223372036854775808\": value out of range",
        ),
        ("foobar", "unrecognized volume kind: should be one of \"empty\", \"host\""),
        ("foobar,kind=Empty", "unrecognized volume kind: should be one of \"empty\", \"host\""),
        ("", "ACName cannot be empty"),
    ] {
        assert_eq!(volume(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn volumes_in_a_manifest() {
    let volumes = |fields: &str| pod(&format!(r#""volumes":[{{{fields}}}]"#)).map(|mut pod| pod.volumes.remove(0));
    let defaults = volumes(r#""name":"v","kind":"empty","mode":null,"uid":null"#).expect("valid");
    assert_eq!(defaults, Volume::empty("v".parse().expect("a name")));
    assert_eq!(defaults.kind, VolumeKind::Empty { mode: "0755".to_owned(), uid: 0, gid: 0 });
    let odd = volumes(r#""name":"v","kind":"empty","mode":"","uid":-1"#).expect("valid, as in Go");
    assert_eq!(odd.kind, VolumeKind::Empty { mode: String::new(), uid: -1, gid: 0 });
    assert_eq!(refusal(volumes(r#""kind":"empty""#)), "name must be set");
    assert_eq!(refusal(volumes(r#""name":"v","kind":"host""#)), "source for host volume cannot be empty");
    assert_eq!(
        refusal(volumes(r#""name":"v","kind":"host","source":"x""#)),
        "source for host volume must be absolute path"
    );
}

#[test]
fn mount_point_strings() {
    for (text, read_only) in [
        ("foobar,path=/tmp", false),
        ("foobar,path=/tmp,readOnly=false", false),
        ("foobar,path=/tmp,readOnly=true", true),
    ] {
        let expected = MountPoint { name: "foobar".parse().expect("a name"), path: "/tmp".to_owned(), read_only };
        assert_eq!(mount_point(text), Ok(expected));
    }
    for (text, message) in [
        ("#foobar,path=/tmp", "ACName must contain only lower case alphanumeric characters plus \"-\""),
        ("foobar,path=/tmp,readOnly=true,asdf=asdf", "unknown mountpoint parameter \"asdf\""),
        ("foobar,path=/tmp,readOnly=maybe", "strconv.ParseBool: parsing \"maybe\": invalid syntax"),
        ("foobar,path=/tmp,readOnly=", "strconv.ParseBool: parsing \"\": invalid syntax"),
        ("foobar,path=", "path must be set"),
        ("foobar", "path must be set"),
        ("", "ACName cannot be empty"),
        (",path=/", "ACName cannot be empty"),
    ] {
        assert_eq!(mount_point(text), Err(message.to_owned()), "{text}");
    }
    let manifest =
        image_with_app(r#""mountPoints":[{"path":"relative"},{"name":"x"}]"#).expect("manifests are not checked");
    assert_eq!(manifest.app.expect("an app").mount_points[0].path, "relative");
}

#[test]
fn labels_need_values_and_stand_once() {
    assert_eq!(volume("a,b=1,b=2"), Err("label b with multiple values [\"1\" \"2\"]".to_owned()));
    assert_eq!(mount_point("a,b=1,b=2,b=\""), Err("label b with multiple values [\"1\" \"2\" \"\\\"\"]".to_owned()));
    assert_eq!(image_string("a,b=1,b=2"), Err("label b with multiple values [\"1\" \"2\"]".to_owned()));
    let malformed = "malformed string \"name=x,version,label=v1+v2\" - has a label without a value: version";
    assert_eq!(image_string("x,version,label=v1+v2"), Err(malformed.to_owned()));
    assert_eq!(
        volume("version,label"),
        Err("malformed string \"name=version,label\" - has a label without a value: label".to_owned())
    );
    assert_eq!(volume("x,name=y,kind=empty"), Err("label name with multiple values [\"x\" \"y\"]".to_owned()));
}

#[test]
fn image_strings() {
    let labels = |text: &str| -> Vec<(String, String)> {
        let image = image_string(text).expect(text);
        image.labels.iter().map(|label| (label.name.to_string(), label.value.clone())).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(image_string("example.com/a").expect("valid").name, "example.com/a");
    assert_eq!(labels("example.com/a:1.0.0"), [pair("version", "1.0.0")]);
    assert_eq!(labels("example.com/a,channel=alpha,label=value"), [pair("channel", "alpha"), pair("label", "value")]);
    assert_eq!(
        labels("example.com/app:1.2.3,special=!*'();@&+$/?#[],channel=beta"),
        [pair("version", "1.2.3"), pair("special", "!*'();@&+$/?#[]"), pair("channel", "beta")]
    );
    let characters = "ACIdentifier must contain only lower case alphanumeric characters plus \"-._~/\"";
    for (text, message) in [
        ("not an app name", characters),
        ("example.com/garbage%8 939", characters),
        ("foo,Label=x", characters),
        ("", "ACIdentifier cannot be empty"),
        ("example.com/app,channel=beta:1.2.3", "malformed app string - colon may appear only right after the app name"),
        ("example.com/app:3.2.1,channel=beta:1.2.3", "malformed app string - colon may appear at most once"),
        ("example.com/app:3.2.1,version=1.2.3", "label version with multiple values [\"3.2.1\" \"1.2.3\"]"),
        ("example.com/app,name=other", "label name with multiple values [\"example.com/app\" \"other\"]"),
    ] {
        assert_eq!(image_string(text), Err(message.to_owned()), "{text}");
    }
    for text in ["example.com/a", "example.com/a:1.0.0", "example.com/a:1.0.0,channel=alpha,label=value"] {
        assert_eq!(image_string(text).expect(text).to_string(), text);
    }
}
