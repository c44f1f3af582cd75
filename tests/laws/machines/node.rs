//! The laws for a whole node.

use seckel::base::{Addr, Cx, Entropy, SocketId};
use seckel::node::{Config, DhtConfig, Event, Input, JoinOptions, KeyPair, Net, Node, Output};
use seckel::wire;

use super::{Subject, bytes, mangled, shown};

pub struct Whole;

const PEERS: [Addr; 3] =
    [Addr::new([30, 0, 0, 1], 49737), Addr::new([30, 0, 0, 2], 49737), Addr::new([30, 0, 0, 3], 1000)];

impl Subject for Whole {
    type Machine = Node;
    const NAME: &'static str = "node";

    fn make(cx: &mut Cx<'_>) -> Node {
        let dht = DhtConfig { bootstrap: PEERS[..2].to_vec(), ..DhtConfig::default() };
        Node::new(cx, Config { dht, ..Config::default() })
    }

    fn poke(node: &mut Node, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        use seckel::base::Machine;
        let socket = SocketId(draw.below(4) as u32);
        let from = PEERS[draw.below(3) as usize];
        match draw.below(100) {
            0..=4 => node
                .handle_input(cx, Input::Bound { socket, local: Addr::new([0; 4], 49737 + socket.0 as u16) }),
            5 => node.handle_input(cx, Input::BindFailed { socket }),
            6 => node.handle_input(cx, Input::Interfaces(&[[10, 0, 0, 7], [127, 0, 0, 1]])),
            7..=79 => {
                let formats = wire::formats();
                let names = ["dht_rpc.request", "dht_rpc.response", "udx.header"];
                let format = formats.iter().find(|format| format.name == names[draw.below(3) as usize]);
                let legal = format.map(|format| (format.invent)(draw)).unwrap_or_default();
                let datagram = if draw.chance(900) { mangled(draw, legal) } else { bytes(draw, 60) };
                node.handle_input(cx, Input::Datagram { socket, from, bytes: &datagram });
            }
            _ => command(node, cx, draw),
        }
    }

    fn show_output(output: &Output) -> String {
        shown(output)
    }

    fn show_event(event: &Event) -> String {
        shown(event)
    }
}

fn command(node: &mut Node, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
    let key_pair = KeyPair::from_seed([draw.below(3) as u8; 32]);
    let key = KeyPair::from_seed([draw.below(3) as u8 + 10; 32]).public;
    let Cx { now, entropy, disk, trace } = cx;
    let mut net =
        Net::new(node, Cx { now: *now, entropy: &mut **entropy, disk: &mut **disk, trace: &mut **trace });
    match draw.below(8) {
        0 => drop(net.listen(&key_pair, draw.chance(500))),
        1..=3 => {
            if net.conns().len() < 20 {
                let _ = net.connect(key, &key_pair, draw.chance(500));
            }
        }
        4 => {
            for conn in net.conns() {
                net.destroy(conn);
            }
        }
        5 => {
            net.swarm(&key_pair);
            let _ =
                net.join([draw.below(2) as u8; 32], JoinOptions { server: draw.chance(500), client: true });
        }
        6 => net.leave([draw.below(2) as u8; 32]),
        _ => {
            if let Ok(store) = net.store("store")
                && let Ok(core) = net.core(store, "core")
            {
                let _ = net.append(core, &[&bytes(draw, 50)]);
            }
        }
    }
}
