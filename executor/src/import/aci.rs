//! ACIs of servers: found by name or URL, compared with what is stored, downloaded, verified.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use appc::ImageString;
use fetch::download::{Body, DownloadError, Opened, RemoteFile, Validators};
use fetch::http::{Reach, Url};
use fetch::keystore::{Keystore, Scope};
use fetch::openpgp::MAX_SIGNATURE_BYTES;
use store::{Download, FindError, ImageRecord, Remote};
use tracing::{debug, info, info_span};

use super::{Images, Origin, Wanted, not_found, told};
use crate::discover;
use crate::error::{CommandError, Explain};
use crate::keys::{self, Review};
use crate::output;
use crate::pull_policy::PullPolicy;
use crate::signature::{self, Voucher};

/// How often in a row a download may end without a new byte before it is given up.
const FRUITLESS: u32 = 3;

/// Where an ACI and its signature are.
struct Place {
    aci: Url,
    asc: Url,
    /// How far inside the network they may be, if a server said where they are.
    reach: Option<Reach>,
}

/// A signature that was asked for.
enum Signature {
    /// It is there.
    Here(Vec<u8>),
    /// The server wants to be asked again when it has given the image.
    Deferred,
}

impl Images {
    /// The image at a URL: from the store or from its server, as the pull policy says; from its server in any case if
    /// `again`.
    ///
    /// # Errors
    ///
    /// It cannot be had, or is not signed. Nothing of it is left in the store then but what a later attempt can go on
    /// with.
    pub(super) fn fetch_url(
        &self,
        url: &Url,
        signature: Option<&Path>,
        again: bool,
    ) -> Result<ImageRecord, CommandError> {
        let _span = info_span!("fetch", image = %url).entered();
        let mut asc = url.clone();
        asc.set_path(&format!("{}.asc", url.path()));
        let place = Place { aci: url.clone(), asc, reach: None };
        if self.policy != PullPolicy::Update && !again {
            if let Some((_, record)) = self.known_at(&place)? {
                info!("using image from local store for url {url}");
                return Ok(record);
            }
            if self.policy == PullPolicy::Never {
                return Err(CommandError::failed("no image from there is stored")
                    .hint("--pull-policy=new fetches what is not stored"));
            }
        }
        self.fetch_from(&place, None, signature, again)
    }

    /// The image that a name of App Container means: from the store or by discovery, as the pull policy says.
    ///
    /// # Errors
    ///
    /// As [`Images::fetch_url`].
    pub(super) fn fetch_name(
        &self,
        wanted: &ImageString,
        signature: Option<&Path>,
        again: bool,
    ) -> Result<ImageRecord, CommandError> {
        let _span = info_span!("fetch", image = %wanted).entered();
        if self.policy != PullPolicy::Update && !again {
            if let Some(choice) = self.store.called(wanted)? {
                let record = told(choice, wanted);
                info!("using image from local store for image name {wanted}: {}", record.id);
                return Ok(record);
            }
            if self.policy == PullPolicy::Never {
                return Err(CommandError::failed(format!("no image named {wanted} is stored"))
                    .hint("--pull-policy=new fetches what is not stored"));
            }
        }
        info!("searching for app image {}", wanted.name);
        let complete = discover::complete(wanted.clone());
        let web = self.web()?;
        let discovery = web.discovery()?;
        let found = discovery.endpoints(&complete).map_err(explain_discovery)?.found;
        if !self.insecure.image() && signature.is_none() {
            self.fetch_keys(wanted)?;
        }
        let mut failed = None;
        for endpoint in found {
            let place = match (Url::parse(&endpoint.aci), Url::parse(&endpoint.asc)) {
                (Ok(aci), Ok(asc)) if matches!(aci.scheme(), "http" | "https") => {
                    Place { aci, asc, reach: Some(endpoint.reach) }
                }
                // Other schemes are for those who know them.
                _ => {
                    debug!(url = endpoint.aci, "passed over");
                    continue;
                }
            };
            info!("remote fetching from URL {:?}", place.aci.as_str());
            let wanted = Wanted { typed: wanted, complete: &complete };
            match self.fetch_from(&place, Some(wanted), signature, again) {
                Err(error) if error.cause::<DownloadError>().is_some_and(DownloadError::is_of_server) => {
                    debug!(url = %place.aci, error = error.chain(), "not from here");
                    failed = failed.or(Some(error));
                }
                outcome => return outcome,
            }
        }
        Err(failed.unwrap_or_else(|| CommandError::failed("no endpoints discovered that can be fetched from")))
    }

    /// The image that a name means which no image of the store has as it stands: with labels one of App Container; else
    /// one of a registry, or of App Container where the host is no registry.
    ///
    /// # Errors
    ///
    /// As [`Images::fetch_url`].
    pub(super) fn fetch_by_name(
        &self,
        name: &str,
        not_stored: FindError,
        signature: Option<&Path>,
    ) -> Result<ImageRecord, CommandError> {
        let appc = name.parse::<ImageString>().ok();
        // Only App Container's names have labels, and signatures in files.
        let pulled = if signature.is_none() { self.pull_by_name(name) } else { None };
        let (error, wanted) = match (pulled, appc) {
            (Some(Ok(record)), _) => return Ok(record),
            (None, None) => return Err(not_found(not_stored, name)),
            (None, Some(wanted)) => return self.fetch_name(&wanted, signature, false).during(|| name.to_owned()),
            (Some(Err(error)), Some(wanted)) if self.policy != PullPolicy::Never => (error, wanted),
            (Some(Err(error)), _) => return Err(error),
        };
        let host = wanted.name.as_str().split('/').next().unwrap_or_default();
        // Names without a host are short for one of a registry. What cannot be reached is not asked again.
        let is_host = host.contains('.') || host == "localhost";
        if !is_host || self.is_registry(host)? != Some(false) {
            return Err(error);
        }
        debug!(host, "is no registry");
        self.fetch_name(&wanted, None, false).during(|| name.to_owned())
    }

    /// What a URL led to, if that is stored and good enough.
    fn known_at(&self, place: &Place) -> Result<Option<(Remote, ImageRecord)>, CommandError> {
        let Some(remote) = self.store.remote(place.aci.as_str())? else { return Ok(None) };
        // What somebody took unsigned is not what somebody else wants signed.
        if !remote.signed && !self.insecure.image() {
            return Ok(None);
        }
        let Some(record) = self.store.record(&remote.image)? else { return Ok(None) };
        let complete = self.ready_trees(&record.layers)?.is_some();
        Ok(complete.then_some((remote, record)))
    }

    fn fetch_from(
        &self,
        place: &Place,
        wanted: Option<Wanted<'_>>,
        given: Option<&Path>,
        again: bool,
    ) -> Result<ImageRecord, CommandError> {
        let known = if again { None } else { self.known_at(place)? };
        if let Some((_, record)) = known.as_ref().filter(|(remote, _)| is_fresh(remote)) {
            info!("using image from local store for url {}: it is fresh", place.aci);
            return Ok(record.clone());
        }
        let web = self.web()?;
        let file = RemoteFile::new(&web.client, web.hosts()?, place.aci.clone(), place.reach);
        let wait = || info!("another proa is downloading this file, waiting...");
        let mut download = self.store.download(place.aci.as_str(), wait)?;
        let etag = known.as_ref().and_then(|(remote, _)| remote.validators.etag.as_deref());
        let opened = web.client.block_on(open(&file, &mut download, etag)).map_err(explain_download)?;
        let body = match (opened, known) {
            (Opened::Unchanged { max_age }, Some((remote, record))) => {
                info!("using image from local store for url {}: it has not changed", place.aci);
                download.discard()?;
                self.store.set_remote(&Remote { asked_ns: now_ns(), max_age, ..remote })?;
                return Ok(record);
            }
            (Opened::Whole(body) | Opened::Rest(body), _) => body,
            (Opened::Unchanged { .. }, None) => {
                return Err(CommandError::failed(format!("{}: the server says nothing has changed", place.aci)));
            }
        };
        let (validators, max_age) = (body.validators.clone(), body.max_age);
        let signature = self.signature(place, given)?;
        if let Some(Signature::Here(signature)) = &signature {
            // Who has signed is known before anything is downloaded.
            signature::check_signer(&self.config_dirs, signature.clone())?;
        }
        let mut aci = receive(&file, download, body)?;
        let voucher = match self.at_last(signature, place, given)? {
            Some(signature) => signature::vouch(&self.config_dirs, &mut aci, signature)?,
            None => Voucher::Nobody,
        };
        let signed = matches!(voucher, Voucher::Keys { .. });
        let source = Some(place.aci.to_string());
        let record = self.import_aci(aci, Origin { voucher: &voucher, source, wanted })?;
        let Validators { etag, last_modified, size } = validators;
        let validators = store::Validators { etag, last_modified, size };
        let url = place.aci.to_string();
        self.store.set_remote(&Remote { url, image: record.id, validators, asked_ns: now_ns(), max_age, signed })?;
        Ok(record)
    }

    /// The signature of an image: the given one, or its server's. `None` if none is wanted.
    fn signature(&self, place: &Place, given: Option<&Path>) -> Result<Option<Signature>, CommandError> {
        if self.insecure.image() {
            return Ok(None);
        }
        if let Some(path) = given {
            return signature::read(path).map(|bytes| Some(Signature::Here(bytes)));
        }
        info!("downloading signature from {}", place.asc);
        let web = self.web()?;
        let file = RemoteFile::new(&web.client, web.hosts()?, place.asc.clone(), place.reach);
        match file.document(MAX_SIGNATURE_BYTES) {
            Ok(bytes) => Ok(Some(Signature::Here(bytes))),
            Err(DownloadError::Deferred(_)) => {
                output::complain("proa: server requested deferring the signature download\n");
                Ok(Some(Signature::Deferred))
            }
            Err(error) => {
                let refused = matches!(error, DownloadError::Status { status: 404 | 410, .. });
                let error = CommandError::failed(format!("error downloading the signature file: {error}"));
                Err(match refused {
                    true => self.unsigned(error),
                    false => error.hint("try again later, or give the signature with --signature=FILE"),
                })
            }
        }
    }

    /// The signature that was asked for. One that was deferred is asked for once more, now that the server had time.
    fn at_last(
        &self,
        asked: Option<Signature>,
        place: &Place,
        given: Option<&Path>,
    ) -> Result<Option<Vec<u8>>, CommandError> {
        match asked {
            Some(Signature::Here(signature)) => Ok(Some(signature)),
            Some(Signature::Deferred) => match self.signature(place, given)? {
                Some(Signature::Here(signature)) => Ok(Some(signature)),
                _ => Err(deferred_again()),
            },
            None => Ok(None),
        }
    }

    /// Looks for the keys of an image that no key is trusted for yet, and asks whether they are good, if somebody is
    /// there, or they come over HTTPS and that is enough (`--trust-keys-from-https`). What goes wrong is no reason to stop:
    /// the signature decides.
    fn fetch_keys(&self, wanted: &ImageString) -> Result<(), CommandError> {
        let name = &wanted.name;
        let trust = Keystore::new(self.config_dirs.all()).read()?;
        if trust.trusted().any(|(scope, _, _)| scope.covers(name)) {
            info!("keys already exist for prefix {:?}, not fetching again", name.as_str());
            return Ok(());
        }
        let review = match (self.trust_keys_from_https, keys::can_ask()) {
            (true, _) => Review::SkipForHttps,
            (false, true) => Review::Ask,
            (false, false) => return Ok(()),
        };
        let Some(own) = self.config_dirs.own() else { return Ok(()) };
        // Keys of whoever answers are worth nothing.
        if self.insecure.tls() && !self.insecure.pubkey() {
            return Ok(());
        }
        let web = self.web()?;
        let scope = Scope::Prefix(name.clone());
        let added = keys::discover(web, name).and_then(|locations| {
            locations.iter().try_for_each(|location| keys::add(web, own, &scope, location, review))
        });
        if let Err(error) = added {
            crate::diagnostics::warn(&format!("error adding keys: {}", error.chain()));
        }
        Ok(())
    }
}

/// Asks for a file, or the rest of it, and makes the download's file ready for what comes.
async fn open(file: &RemoteFile<'_>, download: &mut Download<'_>, etag: Option<&str>) -> Result<Opened, DownloadError> {
    let write = DownloadError::Write;
    let have = download.validators.clone().map(|have| Validators {
        etag: have.etag,
        last_modified: have.last_modified,
        size: have.size,
    });
    let received = download.received().map_err(write)?;
    let opened = match file.open(have.as_ref().map(|have| (have, received)), etag).await {
        // What is there is not the beginning of what the server has: once more from the start.
        Err(DownloadError::Status { status: 416, .. } | DownloadError::Part(_)) if received > 0 => {
            file.open(None, etag).await?
        }
        opened => opened?,
    };
    match &opened {
        Opened::Unchanged { .. } => {}
        Opened::Rest(_) => {
            info!("resuming the download of {} after {received} bytes", file.shown());
            download.resume().map_err(write)?;
        }
        Opened::Whole(body) => {
            let Validators { etag, last_modified, size } = body.validators.clone();
            let validators = store::Validators { etag, last_modified, size };
            download.restart(validators).map_err(|error| write(std::io::Error::other(error)))?;
        }
    }
    Ok(opened)
}

fn explain_discovery(error: fetch::discovery::DiscoveryError) -> CommandError {
    let denied = error.needs_credentials();
    let error = CommandError::from(error);
    match denied {
        true => error.hint("give credentials for that host in auth.d (docs/configuration.md)"),
        false => error.hint("`proa --debug fetch` tells which pages were asked for; a file is written ./FILE.aci"),
    }
}

/// Writes a body to the download's file, asking for the rest as often as it is cut off.
fn receive(file: &RemoteFile<'_>, mut download: Download<'_>, mut body: Body) -> Result<File, CommandError> {
    let work = async {
        let (mut fruitless, mut furthest) = (0, body.received());
        loop {
            let cut = match body.chunk().await {
                Ok(Some(bytes)) => {
                    download.file.write_all(&bytes).map_err(DownloadError::Write)?;
                    // A server that knows no ranges sends what was there before again.
                    if body.received() > furthest {
                        (fruitless, furthest) = (0, body.received());
                    }
                    continue;
                }
                Ok(None) => return Ok(()),
                Err(DownloadError::Http(error)) if error.is_interruption() && fruitless < FRUITLESS => error,
                Err(error) => return Err(error),
            };
            fruitless += 1;
            debug!(url = %file.shown(), error = %cut, "asking for the rest");
            match open(file, &mut download, None).await? {
                Opened::Whole(next) | Opened::Rest(next) => body = next,
                Opened::Unchanged { .. } => return Err(cut.into()),
            }
        }
    };
    file.client().block_on(work).map_err(explain_download)?;
    Ok(download.finish()?)
}

fn deferred_again() -> CommandError {
    CommandError::failed("error downloading the signature file: server asked to defer the download again")
        .hint("try again later")
}

/// Whether the server need not be asked yet. A clock that went back makes nothing fresh.
fn is_fresh(remote: &Remote) -> bool {
    let until = remote.asked_ns.saturating_add(remote.max_age.saturating_mul(1_000_000_000));
    (remote.asked_ns..until).contains(&now_ns())
}

fn explain_download(error: DownloadError) -> CommandError {
    let denied = error.needs_credentials();
    let error = CommandError::from(error);
    match denied {
        true => error.hint("give credentials for that host in auth.d (docs/configuration.md)"),
        false => error,
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
