//! Carries datagrams between a port of the host's loopback and the pod.
//!
//! pasta loses the answers of datagrams that come from the host itself (measured with Debian 12's). Here each client has
//! a socket of its own in the pod, so that an answer finds its way back.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::orders::{Change, Orders};
use crate::network::{Relay, Target};

/// Clients at a time; a further one takes the place of the one that was silent for longest.
const MOST: usize = 256;

/// How long a client may be silent before it is forgotten: conntrack's time for streams of datagrams.
const SILENCE: Duration = Duration::from_secs(120);

/// Datagrams that are taken from one socket before the others have their turn.
const AT_ONCE: usize = 64;

/// No datagram is longer.
const LONGEST: usize = 65_536;

/// A port of the host.
struct Port {
    socket: UdpSocket,
    target: Target,
}

/// A client of a port, and its socket in the pod.
struct Client {
    port: Rc<Port>,
    address: SocketAddr,
    app: UdpSocket,
    /// When anything came or went last.
    heard: Instant,
}

/// Carries until it is killed, or nobody is left to order anything. The process is in the pod's network namespace.
pub(crate) fn run(relays: Vec<Relay>, orders: &Orders) -> io::Error {
    match serve(relays, orders) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn serve(relays: Vec<Relay>, orders: &Orders) -> io::Result<Infallible> {
    let open = |Relay { socket, target, .. }: Relay| -> io::Result<Rc<Port>> {
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Rc::new(Port { socket, target }))
    };
    let mut ports = relays.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
    let mut clients: Vec<Client> = Vec::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let sockets = ports.iter().map(|port| &port.socket).chain(clients.iter().map(|client| &client.app));
        let mut polled = vec![PollFd::new(orders, PollFlags::IN)];
        polled.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        let patience = clients.iter().map(|client| client.heard).min().map(|first| {
            let left = (first + SILENCE).saturating_duration_since(Instant::now());
            // Rounded up: it is over when poll returns.
            Timespec { tv_sec: left.as_secs().cast_signed() + 1, tv_nsec: 0 }
        });
        match poll(&mut polled, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (of_orders, rest) = ready.split_at(1);
        let (of_ports, of_clients) = rest.split_at(ports.len());
        for (client, _) in clients.iter_mut().zip(of_clients).filter(|(_, ready)| **ready) {
            outward(client, &mut buffer);
        }
        let now = Instant::now();
        clients.retain(|client| now.saturating_duration_since(client.heard) < SILENCE);
        for (port, _) in ports.iter().zip(of_ports).filter(|(_, ready)| **ready) {
            inward(port, &mut clients, &mut buffer);
        }
        match orders.next(of_orders[0])? {
            Some(Change::Carry(relays)) => ports.extend(relays.into_iter().filter_map(|relay| open(relay).ok())),
            Some(Change::Free(freed)) => {
                let stays = |port: &Port| !port.socket.local_addr().is_ok_and(|address| freed.has(address));
                ports.retain(|port| stays(port));
                clients.retain(|client| stays(&client.port));
                freed.done()?;
            }
            None => {}
        }
    }
}

/// Answers of the app. What cannot be sent is lost, as datagrams are.
fn outward(client: &mut Client, buffer: &mut [u8]) {
    for _ in 0..AT_ONCE {
        match client.app.recv(buffer) {
            Ok(length) => drop(client.port.socket.send_to(&buffer[..length], client.address)),
            // Nobody listens in the pod, and that is told once.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
        client.heard = Instant::now();
    }
}

/// What clients send.
fn inward(port: &Rc<Port>, clients: &mut Vec<Client>, buffer: &mut [u8]) {
    for _ in 0..AT_ONCE {
        let Ok((length, address)) = port.socket.recv_from(buffer) else { return };
        let known = clients.iter().position(|client| Rc::ptr_eq(&client.port, port) && client.address == address);
        let index = match known {
            Some(index) => index,
            None => {
                if clients.len() >= MOST {
                    let silent = clients.iter().enumerate().min_by_key(|(_, client)| client.heard);
                    silent.map(|(index, _)| index).into_iter().for_each(|index| drop(clients.swap_remove(index)));
                }
                let Ok(app) = port.target.address_for(address).and_then(open) else { continue };
                clients.push(Client { port: port.clone(), address, app, heard: Instant::now() });
                clients.len() - 1
            }
        };
        let client = &mut clients[index];
        client.heard = Instant::now();
        // An error that an earlier one met is told by the next send, which is then made again.
        if client.app.send(&buffer[..length]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = client.app.send(&buffer[..length]);
        }
    }
}

fn open(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match target.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let app = UdpSocket::bind(SocketAddr::new(any, 0))?;
    app.set_nonblocking(true)?;
    app.connect(target)?;
    Ok(app)
}

#[cfg(test)]
mod tests {
    use super::super::orders;
    use super::*;

    #[test]
    fn every_client_gets_its_own_answers() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let relay =
            Relay { socket: socket.into(), target: Target::Loopback(target.local_addr().unwrap()), datagrams: true };
        let (_monitor, orders) = orders::pair().unwrap();
        std::thread::spawn(move || run(vec![relay], &orders));
        std::thread::spawn(move || {
            let mut buffer = [0; LONGEST];
            while let Ok((length, client)) = target.recv_from(&mut buffer) {
                target.send_to(&buffer[..length], client).unwrap();
            }
        });
        // More than there is room for: each is served all the same.
        let clients: Vec<UdpSocket> = (0..MOST + 10).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let text = format!("client {number}");
            client.send_to(text.as_bytes(), address).unwrap();
            let mut answer = [0; 100];
            let length = client.recv(&mut answer).unwrap();
            assert_eq!(&answer[..length], text.as_bytes());
        }
        let largest = vec![7; 60_000];
        clients[0].send_to(&largest, address).unwrap();
        let mut answer = vec![0; LONGEST];
        assert_eq!(clients[0].recv(&mut answer).unwrap(), largest.len());
    }

    #[test]
    fn an_app_that_comes_later_is_found() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let relay = Relay { socket: socket.into(), target: Target::Loopback(target), datagrams: true };
        let (_monitor, orders) = orders::pair().unwrap();
        std::thread::spawn(move || run(vec![relay], &orders));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"lost", address).unwrap();
        let app = UdpSocket::bind(target).unwrap();
        app.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut buffer = [0; 10];
        let heard = (0..200).find_map(|_| {
            client.send_to(b"hello", address).unwrap();
            // What was sent before may come all the same.
            app.recv(&mut buffer).ok().filter(|length| *length == 5)
        });
        assert_eq!(heard, Some(5));
    }
}
