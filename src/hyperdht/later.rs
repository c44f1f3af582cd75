//! A punch whose turn has not come: either side may be busy with another search for ports. The client waits and goes on
//! where it was if a blind relay holds the connection meanwhile, else begins anew. Read `rounds.rs` and `search.rs`
//! first. Follows hyperdht.135 to hyperdht.138.

use super::connect::{ATTEMPT, Finding, Phase};
use super::*;

/// The wait is drawn between this and twice this. hyperdht.136
const WAIT: Span = Span::from_secs(10);
/// A client goes on waiting until it has tried for so long. hyperdht.137
const PATIENCE: Span = Span::from_secs(180);
/// A server keeps a handshake so long whose client may have to wait: a search, the rest after it, and the client's own
/// wait take 75 s. hyperdht.138
pub(super) const KEPT: Span = Span::from_secs(90);

impl HyperDht {
    /// Before the client looks again. False: it has waited long enough. hyperdht.136, hyperdht.137, hyperdht.168
    pub(super) fn wait_for_turn(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> bool {
        let (least, drawn) = match self.rest_after_search(cx.now) {
            Some(rest) => (rest, SECOND),
            None => (WAIT, WAIT),
        };
        let wait = least + Span::from_micros(cx.entropy.below(drawn.as_micros()));
        let again = cx.now + wait;
        let Some(client) = self.client(conn) else { return false };
        if again > client.begun + PATIENCE {
            return false;
        }
        trace!(cx, State, "hyperdht", id: conn, rule: "hyperdht.136", "a side is busy: waits {wait}");
        self.stats.waits += 1;
        self.timers.set(Timer::Attempt(conn), again + ATTEMPT);
        self.timers.set(Timer::Client(conn), again);
        true
    }

    /// Whether a relay holds, or may come to hold, the connection while it waits.
    pub(super) fn has_relay(&self, conn: ConnId) -> bool {
        self.through.contains_key(&conn)
    }

    /// The punch cannot begin now, and the server does not wait for us. hyperdht.137
    pub(super) fn come_back(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(answered) = self.reached(conn) else { return };
        if answered.lan {
            return self.fail_path(conn, ConnectError::TryLater);
        }
        let relay = answered.relay;
        self.end_client_work(conn, None);
        if !self.wait_for_turn(cx, conn) {
            return self.fail_client(conn, ConnectError::TryLater);
        }
        if let Some(client) = self.client(conn) {
            client.phase = Phase::Waiting { relay };
        }
    }

    /// A relay that the handshake came through does not pass rounds on, or not the server's: another one may.
    /// hyperdht.166
    pub(super) fn other_way(&mut self, cx: &mut Cx<'_>, conn: ConnId, why: ConnectError) {
        let has_relay = self.has_relay(conn);
        let deadline = self.timers.get(Timer::Attempt(conn));
        let Some(answered) = self.reached(conn) else { return };
        let (lan, relay) = (answered.lan, answered.relay);
        let Some(client) = self.client(conn) else { return };
        if lan || has_relay || client.misled.len() >= limits::HYPERDHT_RELAYS_TRIED {
            return self.fail_path(conn, why);
        }
        trace!(
            cx, State, "hyperdht", id: conn, peer: relay, rule: "hyperdht.166", "misled by it, looks for another"
        );
        client.failure.get_or_insert(why);
        client.misled.push(relay);
        let known = client.misled.clone();
        let waiting = core::mem::take(&mut client.spare);
        let (key, options) = (client.key, client.options.clone());
        self.end_client_work(conn, None);
        if let Some(deadline) = deadline {
            self.timers.set(Timer::Attempt(conn), deadline);
        }
        let noise = self.first_message(cx, &key, &options);
        if let Some(client) = self.client(conn) {
            let first = known.len() == 1;
            let finding = Finding::again(noise, known, waiting, first);
            client.phase = Phase::Finding(Box::new(finding));
        }
        self.find(cx, conn);
    }

    /// hyperdht.137
    pub(super) fn begin_anew(&mut self, cx: &mut Cx<'_>, conn: ConnId, relay: Addr) {
        let Some(client) = self.client(conn) else { return };
        let (key, options) = (client.key, client.options.clone());
        trace!(cx, State, "hyperdht", id: conn, peer: relay, rule: "hyperdht.137", "begins anew");
        let noise = self.first_message(cx, &key, &options);
        if let Some(client) = self.client(conn) {
            client.phase = Phase::Finding(Box::new(Finding::new(noise, vec![relay], false)));
        }
        self.ask_next_candidate(cx, conn);
        self.find(cx, conn);
    }
}
