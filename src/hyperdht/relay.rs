//! What a node does with handshakes and holepunch rounds: serve those for its own servers, pass on the others. Follows
//! hyperdht.20 to hyperdht.28. Nothing is remembered: the answer finds its way by the request's tid.

use super::sessions::Call;
use super::*;
use crate::wire::hyperdht::{Handshake, Holepunch, mode};

impl HyperDht {
    pub(super) fn relay_handshake(&mut self, cx: &mut Cx<'_>, request: Request) {
        let (Some(target), Some(value)) = (request.target, &request.value) else { return self.malformed() };
        let Ok(message) = wire::decode::<Handshake>(value) else { return self.malformed() };
        if message.noise.is_empty() {
            return self.malformed();
        }
        if let Some(&server) = self.by_target.get(&target) {
            return self.serve_handshake(cx, server, request, message);
        }
        let known = self.forwards.get(&target).map(|forward| forward.relay);
        let (to, message) = match message.mode {
            mode::FROM_CLIENT => match message.relay.or(known) {
                // hyperdht.23: nothing known, help the asker to walk on.
                None => {
                    let respond = Respond { token: false, ..Respond::value(None) };
                    self.outputs.push_back(Output::Respond { request, respond });
                    return;
                }
                // hyperdht.22
                Some(relay) => {
                    let peer = Some(request.from);
                    (relay, Handshake { mode: mode::FROM_RELAY, noise: message.noise, peer, relay: None })
                }
            },
            // hyperdht.24
            mode::FROM_RELAY => match known {
                None => return,
                Some(relay) => {
                    let from = Some(request.from);
                    (relay, Handshake { mode: mode::FROM_SECOND_RELAY, relay: from, ..message })
                }
            },
            mode::FROM_SERVER => return self.return_handshake(request, message),
            _ => return self.malformed(),
        };
        self.pass_on(request, to, wire::encode(&message), None);
    }

    /// The server's answer is on its way back and we asked for the client. hyperdht.25
    fn return_handshake(&mut self, request: Request, message: Handshake) {
        let Some(client) = message.peer else { return self.malformed() };
        let reply =
            Handshake { mode: mode::REPLY, noise: message.noise, peer: Some(request.from), relay: None };
        self.reply_to(request, client, wire::encode(&reply));
    }

    /// One of our servers is called. hyperdht.20, hyperdht.21
    fn serve_handshake(&mut self, cx: &mut Cx<'_>, server: ServerId, request: Request, message: Handshake) {
        let (client, back) = match message.mode {
            // pitfalls 7.3: the caller's address is where the request came from, never what the caller wrote.
            mode::FROM_CLIENT => (None, request.from),
            mode::FROM_RELAY => (message.peer, request.from),
            // pitfalls 7.10: the answer goes to the first relay, which the message names.
            mode::FROM_SECOND_RELAY => match message.relay {
                Some(relay) => (message.peer, relay),
                None => return self.malformed(),
            },
            _ => return self.malformed(),
        };
        let direct = message.mode == mode::FROM_CLIENT;
        if !direct && client.is_none() {
            return self.malformed();
        }
        let call = Call { request, client: client.filter(|_| !direct), back };
        if let Some((noise, socket)) = self.answer_handshake(cx, server, &message.noise, &call) {
            self.return_answer(call, noise, socket);
        }
    }

    /// Our side of a handshake leaves, by the way that the caller's came. hyperdht.20, hyperdht.21
    pub(super) fn return_answer(&mut self, call: Call, noise: Vec<u8>, socket: Option<SocketId>) {
        let Call { request, client, back } = call;
        if client.is_none() {
            let reply = Handshake { mode: mode::REPLY, noise, peer: None, relay: None };
            let value = Some(wire::encode(&reply));
            let respond = Respond { token: false, closer: false, socket, ..Respond::value(value) };
            self.outputs.push_back(Output::Respond { request, respond });
        } else {
            let answer = Handshake { mode: mode::FROM_SERVER, noise, peer: client, relay: None };
            self.pass_on(request, back, wire::encode(&answer), socket);
        }
    }

    pub(super) fn relay_holepunch(&mut self, cx: &mut Cx<'_>, request: Request) {
        let (Some(target), Some(value)) = (request.target, &request.value) else { return self.malformed() };
        let Ok(message) = wire::decode::<Holepunch>(value) else { return self.malformed() };
        match message.mode {
            // hyperdht.26, pitfalls 7.11: relayed even if the server is ours.
            mode::FROM_CLIENT => {
                let known = self.forwards.get(&target).map(|forward| forward.relay);
                let Some(to) = message.peer.or(known) else { return };
                let relayed = Holepunch { mode: mode::FROM_RELAY, peer: Some(request.from), ..message };
                self.pass_on(request, to, wire::encode(&relayed), None);
            }
            // hyperdht.27
            mode::FROM_RELAY => {
                let Some(&server) = self.by_target.get(&target) else { return };
                let Some(client) = message.peer else { return self.malformed() };
                self.serve_round(cx, server, request, message.id, client, &message.payload);
            }
            // hyperdht.28
            mode::FROM_SERVER => {
                let Some(client) = message.peer else { return self.malformed() };
                let reply = Holepunch { mode: mode::REPLY, peer: Some(request.from), ..message };
                self.reply_to(request, client, wire::encode(&reply));
            }
            _ => self.malformed(),
        }
    }

    /// Sends our side of a holepunch round back through the relay that the client's came by.
    pub(super) fn answer_round(
        &mut self,
        request: Request,
        client: Addr,
        payload: Vec<u8>,
        socket: Option<SocketId>,
    ) {
        let to = request.from;
        let answer = Holepunch { mode: mode::FROM_SERVER, id: 0, payload, peer: Some(client) };
        self.pass_on(request, to, wire::encode(&answer), socket);
    }

    fn pass_on(&mut self, request: Request, to: Addr, value: Vec<u8>, socket: Option<SocketId>) {
        // pitfalls 8.9
        if to.port == 0 {
            return self.malformed();
        }
        self.outputs.push_back(Output::Relay { request, to, value, socket });
    }

    fn reply_to(&mut self, request: Request, to: Addr, value: Vec<u8>) {
        if to.port == 0 {
            return self.malformed();
        }
        let respond = Respond { token: false, closer: false, to: Some(to), ..Respond::value(Some(value)) };
        self.outputs.push_back(Output::Respond { request, respond });
    }

    pub(super) fn malformed(&mut self) {
        self.stats.malformed += 1;
    }
}
