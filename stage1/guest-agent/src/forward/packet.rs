//! Packets as bytes, and back.

use std::borrow::Cow;
use std::collections::VecDeque;

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};
use minicbor::encode::Encoder;

/// Why bytes are no packet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Malformed {
    #[error("{0}")]
    Cbor(String),
    #[error("{0} bytes follow the payload's map")]
    Extraneous(usize),
    #[error("a packet of more than {} bytes", MAX_PACKET)]
    TooLarge,
}

/// The original sends what one read gave, 32 kB at most. The bound is for memory's sake only.
pub(super) const MAX_PACKET: usize = 16 << 20;

/// Packet types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Setup = 0,
    Success = 1,
    Error = 2,
    Data = 3,
    NewConnection = 4,
    CloseConnection = 5,
    NoMoreConnections = 6,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Setup,
        Self::Success,
        Self::Error,
        Self::Data,
        Self::NewConnection,
        Self::CloseConnection,
        Self::NoMoreConnections,
    ];

    /// The type with that number.
    pub(super) fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|it| *it as i64 == number)
    }
}

/// One packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packet<'b> {
    /// A number, because a later backend may send types that we do not know.
    pub(super) kind: i64,
    pub(super) id: u64,
    pub(super) payload: Option<Cow<'b, [u8]>>,
}

/// The packet at the beginning of `bytes` and its length; `None` if it is not all there yet.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let mut decoder = Decoder::new(bytes);
    let mut packet = Packet::default();
    let mut expected = 0;
    let result = fields(&mut decoder, |key, it| {
        if is(key, "Type") {
            packet.kind = if null(it)? { 0 } else { it.i64()? };
        } else if is(key, "ConnectionId") {
            packet.id = if null(it)? { 0 } else { it.u64()? };
        } else if is(key, "Payload") {
            expected = announced(it);
            packet.payload = if null(it)? { None } else { Some(byte_string(it)?) };
        } else {
            it.skip()?;
        }
        Ok(())
    });
    match result {
        Ok(()) => Ok(Some((packet, decoder.position()))),
        // What nobody will take is not waited for.
        Err(error) if error.is_end_of_input() && bytes.len().max(expected) < MAX_PACKET => Ok(None),
        Err(error) if error.is_end_of_input() => Err(Malformed::TooLarge),
        Err(error) => Err(malformed(&error)),
    }
}

/// Appends a packet; keys in the original's order.
pub(super) fn encode(to: &mut VecDeque<u8>, kind: Kind, id: u64, payload: Option<&[u8]>) {
    let mut head = Vec::with_capacity(48);
    let mut encoder = Encoder::new(&mut head);
    let encoded = (|| {
        encoder.map(3)?.str("Type")?.u8(kind as u8)?.str("ConnectionId")?.u64(id)?.str("Payload")?;
        if let Some(payload) = payload { encoder.bytes_len(payload.len() as u64) } else { encoder.null() }.map(drop)
    })();
    encoded.expect("a vector takes everything");
    to.extend(head);
    to.extend(payload.unwrap_or_default());
}

/// What SETUP's connection type asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionType {
    X11,
    PortForward,
    PortDial,
    SocketForward,
    SocketDial,
}

/// The payload of SETUP. Missing fields are zero and empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) connection_type: u32,
    pub(super) bind_host: String,
    pub(super) bind_port: u32,
    pub(super) protocol: String,
    pub(super) screen: String,
    pub(super) single_connection: bool,
    pub(super) auth_protocol: String,
    pub(super) auth_cookie: String,
}

impl Setup {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut setup = Self::default();
        whole(payload, |key, it| match () {
            () if is(key, "ConnectionType") => number(it, &mut setup.connection_type),
            () if is(key, "BindHost") => text(it, &mut setup.bind_host),
            () if is(key, "BindPort") => number(it, &mut setup.bind_port),
            () if is(key, "Protocol") => text(it, &mut setup.protocol),
            () if is(key, "Screen") => text(it, &mut setup.screen),
            () if is(key, "SingleConnection") => {
                setup.single_connection = !null(it)? && it.bool()?;
                Ok(())
            }
            () if is(key, "AuthProtocol") => text(it, &mut setup.auth_protocol),
            () if is(key, "AuthCookie") => text(it, &mut setup.auth_cookie),
            () => it.skip(),
        })?;
        Ok(setup)
    }

    /// The connection type, if we know it.
    pub(super) fn kind(&self) -> Option<ConnectionType> {
        use ConnectionType::{PortDial, PortForward, SocketDial, SocketForward, X11};
        [X11, PortForward, PortDial, SocketForward, SocketDial].get(self.connection_type as usize).copied()
    }
}

/// The payload of NEW_CONNECTION.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NewConnection {
    pub(super) protocol: String,
    pub(super) connected_address: String,
    pub(super) connected_port: u32,
    pub(super) originator_address: String,
    pub(super) originator_port: u32,
}

impl NewConnection {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut connection = Self::default();
        whole(payload, |key, it| match () {
            () if is(key, "Protocol") => text(it, &mut connection.protocol),
            () if is(key, "ConnectedAddress") => text(it, &mut connection.connected_address),
            () if is(key, "ConnectedPort") => number(it, &mut connection.connected_port),
            () if is(key, "OriginatorAddress") => text(it, &mut connection.originator_address),
            () if is(key, "OriginatorPort") => number(it, &mut connection.originator_port),
            () => it.skip(),
        })?;
        Ok(connection)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        let encoded = (|| {
            encoder.map(5)?.str("Protocol")?.str(&self.protocol)?;
            encoder.str("ConnectedAddress")?.str(&self.connected_address)?;
            encoder.str("ConnectedPort")?.u32(self.connected_port)?;
            encoder.str("OriginatorAddress")?.str(&self.originator_address)?;
            encoder.str("OriginatorPort")?.u32(self.originator_port).map(drop)
        })();
        encoded.expect("a vector takes everything");
        bytes
    }
}

/// A payload is one map and nothing behind it.
fn whole<'b>(
    payload: &'b [u8],
    field: impl FnMut(&str, &mut Decoder<'b>) -> Result<(), Error>,
) -> Result<(), Malformed> {
    let mut decoder = Decoder::new(payload);
    fields(&mut decoder, field).map_err(|it| malformed(&it))?;
    match payload.len() - decoder.position() {
        0 => Ok(()),
        rest => Err(Malformed::Extraneous(rest)),
    }
}

/// Gives each key of a map to `field`, which must consume the value.
fn fields<'b>(
    decoder: &mut Decoder<'b>,
    mut field: impl FnMut(&str, &mut Decoder<'b>) -> Result<(), Error>,
) -> Result<(), Error> {
    untag(decoder)?;
    let mut left = decoder.map()?;
    loop {
        match &mut left {
            Some(0) => return Ok(()),
            Some(count) => *count -= 1,
            None if decoder.datatype()? == Type::Break => return decoder.skip(),
            None => {}
        }
        untag(decoder)?;
        if matches!(decoder.datatype()?, Type::String | Type::StringIndef) {
            let key = string(decoder)?;
            untag(decoder)?;
            field(&key, decoder)?;
        } else {
            // A key that cannot be one of ours, and its value.
            decoder.skip()?;
            decoder.skip()?;
        }
    }
}

/// Tags say nothing about values of plain types.
fn untag(decoder: &mut Decoder<'_>) -> Result<(), Error> {
    while decoder.datatype()? == Type::Tag {
        decoder.tag()?;
    }
    Ok(())
}

fn is(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// Passes over a null, which stands for the zero value.
fn null(decoder: &mut Decoder<'_>) -> Result<bool, Error> {
    let is_null = matches!(decoder.datatype()?, Type::Null | Type::Undefined);
    if is_null {
        decoder.skip()?;
    }
    Ok(is_null)
}

fn number(decoder: &mut Decoder<'_>, to: &mut u32) -> Result<(), Error> {
    *to = if null(decoder)? { 0 } else { decoder.u32()? };
    Ok(())
}

fn text(decoder: &mut Decoder<'_>, to: &mut String) -> Result<(), Error> {
    *to = if null(decoder)? { String::new() } else { string(decoder)? };
    Ok(())
}

/// A text string, in one piece or several.
fn string(decoder: &mut Decoder<'_>) -> Result<String, Error> {
    decoder.str_iter()?.collect()
}

/// A byte string, in one piece or several.
fn byte_string<'b>(decoder: &mut Decoder<'b>) -> Result<Cow<'b, [u8]>, Error> {
    if decoder.datatype()? == Type::Bytes {
        return decoder.bytes().map(Cow::Borrowed);
    }
    let pieces: Vec<&[u8]> = decoder.bytes_iter()?.collect::<Result<_, _>>()?;
    Ok(Cow::Owned(pieces.concat()))
}

/// How many bytes the head of a string announces; 0 if it does not tell, or is not all there.
fn announced(decoder: &Decoder<'_>) -> usize {
    let head = &decoder.input()[decoder.position()..];
    let Some((first, rest)) = head.split_first() else { return 0 };
    let width = match first & 0x1f {
        immediate @ ..24 => return immediate.into(),
        code @ 24..=27 => 1 << (code - 24),
        _ => return 0,
    };
    rest.get(..width).map_or(0, |digits| digits.iter().fold(0, |sum, it| sum << 8 | usize::from(*it)))
}

fn malformed(error: &Error) -> Malformed {
    Malformed::Cbor(error.to_string())
}

#[cfg(test)]
mod tests;
