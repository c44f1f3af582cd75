//! A swarm under the laws.

use seckel::base::{Addr, Cx, Entropy, Key, Machine};
use seckel::hyperswarm::{
    Config, Event, Firewall, Hyperswarm, Input, Join, Link, Output, QueryId, SessionId,
};

use super::{Subject, shown};

/// A swarm and its sessions.
pub struct Watched {
    swarm: Hyperswarm,
    sessions: Vec<SessionId>,
    queries: u64,
    links: u64,
}

impl Machine for Watched {
    type Input<'a> = Input;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input) {
        self.swarm.handle_input(cx, input);
    }
    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.swarm.handle_timeout(cx);
    }
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let output = self.swarm.poll_output(cx)?;
        if let Output::Query { query, .. } = &output {
            self.queries = query.0;
        }
        Some(output)
    }
    fn poll_event(&mut self) -> Option<Event> {
        self.swarm.poll_event()
    }
    fn poll_timeout(&self) -> Option<seckel::base::Deadline> {
        self.swarm.poll_timeout()
    }
}

fn key(draw: &mut dyn Entropy) -> Key {
    [draw.below(20) as u8; 32]
}

fn query(machine: &Watched, draw: &mut dyn Entropy) -> QueryId {
    QueryId((machine.queries + 1).saturating_sub(draw.below(4)))
}

fn join(draw: &mut dyn Entropy) -> Join {
    Join {
        server: draw.chance(500),
        client: draw.chance(700),
        limit: draw.chance(200).then(|| draw.below(4)),
    }
}

pub struct Swarm;

impl Subject for Swarm {
    type Machine = Watched;
    const NAME: &'static str = "hyperswarm";

    fn make(cx: &mut Cx<'_>) -> Watched {
        let config = Config {
            max_peers: 6,
            max_client_connections: cx.entropy.chance(300).then_some(4),
            max_server_connections: cx.entropy.chance(300).then_some(3),
            relay_through: cx.entropy.chance(300).then_some([99; 32]).into_iter().collect(),
            ..Config::new([10; 32])
        };
        Watched { swarm: Hyperswarm::new(cx, config), sessions: Vec::new(), queries: 0, links: 0 }
    }

    fn poke(machine: &mut Watched, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        let peer = key(draw);
        let link = Link(machine.links.saturating_sub(draw.below(8)));
        match draw.below(28) {
            0 | 1 => {
                if let Ok(session) = machine.swarm.join(cx, key(draw), join(draw)) {
                    machine.sessions.push(session);
                    if machine.sessions.len() > 20 {
                        let _ = machine.swarm.leave_session(cx, machine.sessions.remove(0));
                    }
                }
            }
            2 => {
                if let Some(session) = machine.sessions.first() {
                    let _ = machine.swarm.change(cx, *session, join(draw));
                }
            }
            3 => drop(machine.swarm.leave(cx, key(draw))),
            4 => drop(machine.swarm.flush(cx)),
            5 => drop(machine.swarm.join_peer(cx, peer)),
            6 => machine.swarm.leave_peer(cx, peer),
            7 => machine.swarm.ban(cx, peer, draw.chance(300)),
            8 if draw.chance(200) => machine.swarm.set_firewall(Firewall::Except([peer].into())),
            8 => drop(machine.swarm.set_reconnect(peer, draw.chance(700))),
            9 if draw.chance(100) => drop(machine.swarm.suspend(cx)),
            9 => drop(machine.swarm.resume(cx)),
            10 if draw.chance(3) => machine.swarm.destroy(cx, draw.chance(500)),
            10 => machine.handle_input(cx, Input::Online(draw.chance(500))),
            11 => machine.handle_input(cx, Input::NetworkChange),
            12 => machine.handle_input(cx, Input::Listening),
            13 => machine
                .handle_input(cx, if draw.chance(200) { Input::ListenFailed } else { Input::Listening }),
            14 => machine.handle_input(cx, Input::Unannounced { topic: key(draw) }),
            15 => {
                let query = query(machine, draw);
                machine.handle_input(cx, Input::QueryDone { query, ok: draw.chance(700) });
            }
            16 | 17 => {
                let query = query(machine, draw);
                let relays = (0..draw.below(3)).map(|_| Addr::loopback(1)).collect();
                machine.handle_input(cx, Input::Peer { query, key: peer, relays });
            }
            18 | 19 => {
                machine.links += 1;
                let link = Link(machine.links);
                machine.handle_input(cx, Input::Connected { key: peer, link });
            }
            20 => machine.handle_input(cx, Input::Failed { key: peer, holepunch: draw.chance(300) }),
            21 => {
                machine.links += 1;
                let link = Link(machine.links);
                machine.handle_input(cx, Input::Incoming { key: peer, link, outdated: draw.chance(300) });
            }
            23 => machine.handle_input(cx, Input::Unlistened),
            24 => machine.handle_input(cx, Input::Late { link }),
            25 => machine.handle_input(cx, Input::Silent { link }),
            26 if draw.chance(500) => machine.handle_input(cx, Input::Heard { link }),
            26 => machine.swarm.set_relays(vec![peer]),
            22 => machine.handle_input(cx, Input::Randomized(draw.chance(300))),
            _ => machine.handle_input(cx, Input::Closed { link }),
        }
    }

    fn show_output(output: &Output) -> String {
        shown(output)
    }

    fn show_event(event: &Event) -> String {
        shown(event)
    }
}
