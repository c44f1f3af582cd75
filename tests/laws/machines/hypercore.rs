//! The laws for a core and its peers.

use seckel::base::{Cx, Entropy, Machine, Span};
use seckel::crypto::sign::KeyPair;
use seckel::hypercore::jobs::Download;
use seckel::hypercore::manners::Exchange;
use seckel::hypercore::replicate::{Event, Input, Output, PeerId, capability};
use seckel::hypercore::{Hypercore, Live, Open};
use seckel::wire;
use seckel::wire::hypercore::Handshake;

use super::{Subject, bytes, mangled, shown};

pub struct Core;

const HASH: [u8; 64] = [7; 64];

impl Subject for Core {
    type Machine = Live;
    const NAME: &'static str = "hypercore";

    fn make(cx: &mut Cx<'_>) -> Live {
        let open = Open { key_pair: Some(KeyPair::from_seed([3; 32])), ..Open::default() };
        let mut core = Hypercore::open(cx, "core", open).expect("a new core");
        core.append(cx, &[[1u8; 30], [2; 30], [3; 30]]).expect("an append");
        Live::new(core)
    }

    fn poke(live: &mut Live, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        let peer = PeerId(draw.below(4));
        match draw.below(100) {
            0..=9 => {
                let handshake = Handshake {
                    seeks: draw.chance(500),
                    capability: capability(live.core.key(), &HASH, draw.chance(900)),
                };
                let remote_handshake = &wire::encode(&handshake)[..];
                let initiator = false;
                live.handle_input(
                    cx,
                    Input::PeerOpened { peer, remote_handshake, handshake_hash: &HASH, initiator },
                );
            }
            10..=12 => live.handle_input(cx, Input::PeerClosed { peer }),
            13..=15 => live.handle_input(cx, Input::Writable { peer, writable: draw.chance(500) }),
            16 => live.handle_input(cx, Input::Rtt { peer, rtt: Span::from_millis(draw.below(900)) }),
            17..=19 => {
                let block = bytes(draw, 80);
                let _ = live.append(cx, &[&block]);
            }
            20 => live.download_all(cx, draw.chance(500)),
            21 => drop(live.wait_for(cx, draw.below(10))),
            22 => drop(live.update(cx)),
            23 => live.set_active(cx, draw.chance(500)),
            24 => {
                let timeout = draw.chance(500).then(|| Span::from_millis(draw.below(900)));
                let job = match draw.below(4) {
                    0 => live.fetch(cx, draw.below(10), timeout),
                    1 => live.seek(cx, draw.below(200), timeout),
                    2 => live.wait_for_update(cx, timeout),
                    _ => {
                        let (start, linear) = (draw.below(9), draw.chance(500));
                        let end = draw.chance(700).then(|| draw.below(12));
                        let blocks = draw.chance(300).then(|| vec![draw.below(9), draw.below(9)]);
                        live.download(cx, Download { start, end, linear, blocks }, timeout)
                    }
                };
                if let (Ok(job), true) = (job, draw.chance(200)) {
                    live.cancel(cx, job);
                }
            }
            25 => {
                let mut rate = || draw.chance(300).then(|| draw.below(9000));
                let (upload, download) = (rate(), rate());
                live.set_exchange(Exchange {
                    eager_upgrade: draw.chance(800),
                    allow_fork: draw.chance(800),
                    push: draw.chance(500),
                    push_only: draw.chance(100),
                    inflight: (draw.below(20) as usize, draw.below(600) as usize),
                    linger: Span::from_millis(draw.below(900)),
                    upload,
                    download,
                });
            }
            26 => drop(live.push(cx, draw.below(5))),
            27 => {
                let _ = live.register_extension("seckel");
                let _ = live.broadcast_extension("seckel", &bytes(draw, 20));
            }
            28 => {
                let length = live.core.length();
                let _ = live.truncate(cx, draw.below(length + 1));
            }
            29 => drop(live.clear(cx, draw.below(9), draw.below(9))),
            _ => {
                const NAMES: [&str; 10] = [
                    "sync",
                    "request",
                    "cancel",
                    "data",
                    "no_data",
                    "want",
                    "want",
                    "bitfield",
                    "range",
                    "extension",
                ];
                let kind = draw.below(10);
                let name = format!("hypercore.{}", NAMES[kind as usize]);
                let format =
                    wire::formats().into_iter().find(|format| format.name == name).expect("a format");
                let legal = (format.invent)(draw);
                let message = if draw.chance(500) { mangled(draw, legal) } else { legal };
                live.handle_input(cx, Input::Message { peer, kind, bytes: &message });
            }
        }
    }

    fn show_output(output: &Output) -> String {
        shown(output)
    }

    fn show_event(event: &Event) -> String {
        shown(event)
    }
}
