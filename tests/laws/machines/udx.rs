use seckel::base::{Addr, Cx, Entropy, SocketId, Span};
use seckel::udx::{Event, Input, Output, StreamId, Udx};
use seckel::wire;
use seckel::wire::udx::{Header, Kind};

use super::{Subject, bulk, bytes, shown};

/// A machine with the streams that were opened so far.
pub struct Streams {
    udx: Udx,
    ids: Vec<StreamId>,
}

impl seckel::base::Machine for Streams {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;
    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        self.udx.handle_input(cx, input);
    }
    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.udx.handle_timeout(cx);
    }
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        self.udx.poll_output(cx)
    }
    fn poll_event(&mut self) -> Option<Event> {
        self.udx.poll_event()
    }
    fn poll_timeout(&self) -> Option<seckel::base::Deadline> {
        self.udx.poll_timeout()
    }
}

pub struct Laws;

impl Subject for Laws {
    type Machine = Streams;
    const NAME: &'static str = "udx";
    const WAITING_MAX: usize = 50_000;

    fn make(_: &mut Cx<'_>) -> Streams {
        Streams { udx: Udx::new(), ids: Vec::new() }
    }

    fn poke(machine: &mut Streams, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        if draw.chance(500) {
            packet(machine, cx, draw);
            return;
        }
        let Streams { udx, ids } = machine;
        if ids.len() < 4 || draw.chance(20) {
            ids.extend(udx.open(cx, draw.below(6) as u32));
        }
        if ids.is_empty() {
            return;
        }
        let id = ids[draw.below(ids.len() as u64) as usize];
        let socket = SocketId(draw.below(3) as u32);
        let to = Addr::new([10, 0, 0, draw.below(3) as u8], draw.below(3) as u16);
        let _ = match draw.below(14) {
            0 => udx.expect(cx, id, 9),
            1 | 2 => udx.connect(cx, id, socket, 9, to),
            3..=5 => udx.write(cx, id, &bulk(draw, 20_000)).map(drop),
            6 => udx.flush(cx, id),
            7 if draw.chance(200) => udx.end(cx, id),
            8 if draw.chance(100) => udx.destroy(cx, id),
            9 => udx.send(cx, id, &bulk(draw, 1300)),
            10 => udx.set_reading(cx, id, draw.chance(500)),
            11 if draw.chance(500) => udx.change_remote(cx, id, socket, 9, to),
            12 => udx.send_hops(cx, id, &bulk(draw, 1300), draw.below(256) as u8),
            13 if draw.chance(200) => {
                let other = ids[draw.below(ids.len() as u64) as usize];
                udx.relay_to(cx, id, other)
            }
            13 => udx.set_window(cx, id, draw.below(1 << 20) as usize),
            _ => udx.set_keep_alive(cx, id, Some(Span::from_millis(draw.below(3000)))),
        };
    }

    fn show_output(output: &Output) -> String {
        shown(output)
    }
    fn show_event(event: &Event) -> String {
        shown(event)
    }
}

fn packet(machine: &mut Streams, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
    let number = |draw: &mut dyn Entropy| match draw.below(5) {
        0 => draw.u32(),
        _ => draw.below(30) as u32,
    };
    let kind = Kind {
        data: draw.chance(600),
        end: draw.chance(30),
        sack: draw.chance(300),
        message: draw.chance(50),
        destroy: draw.chance(10),
        heartbeat: draw.chance(50),
    };
    let mut datagram = wire::encode(&Header {
        kind,
        data_offset: if draw.chance(800) { 0 } else { draw.u32() as u8 },
        remote_id: draw.below(7) as u32,
        window: if draw.chance(500) { 4 << 20 } else { draw.below(5000) as u32 },
        seq: number(draw),
        ack: number(draw),
    });
    if kind.sack {
        for _ in 0..draw.below(6) {
            datagram.extend(number(draw).to_le_bytes());
        }
    }
    datagram.extend(bulk(draw, 1200));
    if draw.chance(50) {
        datagram = bytes(draw, 2100);
    }
    let from = Addr::new([10, 0, 0, draw.below(3) as u8], 1);
    let socket = SocketId(draw.below(3) as u32);
    let _ = machine.udx.owns(&datagram);
    seckel::base::Machine::handle_input(machine, cx, Input::Datagram { socket, from, bytes: &datagram });
}
