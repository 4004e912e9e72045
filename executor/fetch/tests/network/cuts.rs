//! Downloads that are cut, and go on.

use std::io::Write as _;

use fetch::registry::NoCredentials;

use crate::image::{Image, digest, download, pull, puller, refusal, send, serve};
use crate::server::{Server, client};

/// A registry that cuts every answer to a request for the layer after so many bytes.
fn cutting(image: &Image, after: usize, ranges: bool) -> Server {
    let (content, layer, name) = (image.content(), image.layer.clone(), digest(&image.layer));
    Server::start(move |head, stream| {
        if !head.path().ends_with(&name) {
            return serve(&content, head, stream);
        }
        let from = head
            .header("range")
            .filter(|_| ranges)
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let (status, start) = match from {
            Some(from) => ("206 Partial Content", from),
            None => ("200 OK", 0),
        };
        let rest = &layer[start..];
        let mut reply = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", rest.len());
        if from.is_some() {
            reply += &format!("Content-Range: bytes {start}-{}/{}\r\n", layer.len() - 1, layer.len());
        }
        let _ = stream.write_all(format!("{reply}\r\n").as_bytes());
        let _ = stream.write_all(&rest[..rest.len().min(after)]);
    })
}

#[test]
fn cut_downloads_go_on_where_they_were() {
    let image = Image::new();
    for (after, requests) in [(40_000, 3), (50_000, 2), (1_000_000, 1)] {
        let server = cutting(&image, after, true);
        let client = client();
        assert_eq!(pull(&puller(&client, &NoCredentials, &server)).unwrap().1, image.layer);
        let name = digest(&image.layer);
        assert_eq!(server.requests().iter().filter(|head| head.path().ends_with(&name)).count(), requests, "{after}");
    }
}

#[test]
fn a_download_that_gets_nowhere_is_given_up() {
    let image = Image::new();
    // Without ranges every attempt begins anew and gets no further.
    let server = cutting(&image, 40_000, false);
    let text = refusal(&server);
    assert!(text.contains("the connection was cut"), "{text}");
    let layers = server.requests().iter().filter(|head| head.path().ends_with(&digest(&image.layer))).count();
    assert!((2..=4).contains(&layers), "{layers}");
}

#[test]
fn what_was_there_before_is_not_asked_for_again() {
    let image = Image::new();
    for ranges in [true, false] {
        let server = cutting(&image, 1_000_000, ranges);
        let client = client();
        let puller = puller(&client, &NoCredentials, &server);
        let found = puller.find().unwrap();
        let pulled = puller.image(&found).unwrap();
        let rest = download(&puller, &found, &pulled, 60_000).unwrap();
        assert_eq!(rest, image.layer[60_000..], "ranges: {ranges}");
        assert_eq!(server.requests().last().unwrap().header("range"), Some("bytes=60000-"));
    }
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    let image = Image::new();
    let content = image.content();
    let name = digest(&image.layer);
    let server = Server::start(move |head, stream| {
        if !head.path().ends_with(&name) {
            return serve(&content, head, stream);
        }
        send(stream, "206 Partial Content", &["Content-Range: bytes 5-99999/100000"], &[b'x'; 99_995]);
    });
    assert!(refusal(&server).contains("another part than was asked for"));
}
