//! A node that stops for a while: its servers are withdrawn, its attempts and connections end, its sockets are closed;
//! and goes on. Follows hyperdht.113 and hyperdht.114.

use super::*;

impl HyperDht {
    /// Whether the node is suspended, or about to be.
    pub fn suspended(&self) -> bool {
        self.suspended
    }

    /// Attempts end, nobody is let in any more, and announcements are withdrawn; `Event::Withdrawn` tells when that is
    /// done, after which connections and sockets may be closed. hyperdht.113
    pub fn suspend(&mut self, cx: &mut Cx<'_>) {
        if core::mem::replace(&mut self.suspended, true) {
            return;
        }
        trace!(cx, State, "hyperdht", rule: "hyperdht.113", "is suspended");
        for conn in self.conns.ids() {
            if self.client(conn).is_some() {
                self.fail_client(conn, ConnectError::Suspended);
            }
        }
        for server in self.servers.ids() {
            self.lie_down(cx, server);
        }
        self.withdrawing = true;
        self.withdrawn_all();
    }

    /// Nobody is let in any more by a server, and what is announced of it is withdrawn: `Event::ServerSuspended` tells
    /// when that is done. Connections stay. Errors: `Gone`. hyperdht.154
    pub fn suspend_server(&mut self, cx: &mut Cx<'_>, server: ServerId) -> Result<(), crate::Error> {
        if !self.is_listening(server) {
            return Err(crate::Error::Gone);
        }
        let record = self.servers.get_mut(server).ok_or(crate::Error::Gone)?;
        if !core::mem::replace(&mut record.resting, true) {
            record.rest_told = false;
            trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.154", "is suspended");
            self.lie_down(cx, server);
        }
        Ok(())
    }

    /// Goes on after `suspend_server`: it is announced again. Errors: `Gone`. hyperdht.154
    pub fn resume_server(&mut self, cx: &mut Cx<'_>, server: ServerId) -> Result<(), crate::Error> {
        if !self.is_listening(server) {
            return Err(crate::Error::Gone);
        }
        let record = self.servers.get_mut(server).ok_or(crate::Error::Gone)?;
        if core::mem::replace(&mut record.resting, false) {
            trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.154", "goes on");
            self.rise(cx, server);
        }
        Ok(())
    }

    fn lie_down(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let Some(record) = self.servers.get_mut(server) else { return };
        record.asleep = true;
        for session in record.sessions.ids() {
            self.drop_session(cx, server, session);
            self.clear_session(server, session);
        }
        // One that is being closed, or lay down before, withdraws already.
        if self.is_listening(server) && !self.is_stopping(server) {
            self.stop_announcing(cx, server);
        }
    }

    /// If nothing else keeps it down.
    fn rise(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let suspended = self.suspended;
        let Some(record) = self.servers.get_mut(server) else { return };
        record.asleep = suspended || record.resting;
        if !record.asleep && self.is_listening(server) && !self.is_stopping(server) {
            self.start_announcing(cx, server);
        }
    }

    /// There is nothing more to do, ever. Connections and sockets are closed before. hyperdht.115
    pub fn end(&mut self, cx: &mut Cx<'_>) {
        trace!(cx, State, "hyperdht", rule: "hyperdht.115", "ends");
        for conn in self.conns.ids() {
            if self.client(conn).is_some() {
                self.fail_client(conn, ConnectError::Destroyed);
            }
        }
        (self.suspended, self.ended) = (true, true);
        for server in self.servers.ids() {
            if let Some(record) = self.servers.remove(server) {
                self.by_target.remove(&record.target);
                self.events.push_back(Event::Unlistened { server });
            }
        }
        self.tags.clear();
        self.lookups = Slab::new();
        self.timers = Timers::new();
    }

    /// Goes on after `suspend`: servers are announced again. hyperdht.114
    pub fn resume(&mut self, cx: &mut Cx<'_>) {
        if !core::mem::replace(&mut self.suspended, false) {
            return;
        }
        trace!(cx, State, "hyperdht", rule: "hyperdht.114", "goes on");
        self.withdrawing = false;
        if self.config.defer_random_punch {
            self.last_search = Some(cx.now); // hyperdht.134
        }
        for server in self.servers.ids() {
            self.rise(cx, server);
        }
    }

    /// The announcement of a suspended server is withdrawn. hyperdht.113
    pub(super) fn server_asleep(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let suspended = self.suspended;
        let Some(record) = self.servers.get_mut(server) else { return };
        record.announcer.sleep();
        let resting = record.resting;
        if resting && !core::mem::replace(&mut record.rest_told, true) {
            self.events.push_back(Event::ServerSuspended { server });
        }
        if suspended || resting {
            self.withdrawn_all();
        } else {
            // It was resumed before that was done.
            self.start_announcing(cx, server);
        }
    }

    /// Once no server has anything to withdraw.
    pub(super) fn withdrawn_all(&mut self) {
        let busy = self.servers.ids().into_iter().any(|server| self.is_stopping(server));
        if self.withdrawing && !busy {
            self.withdrawing = false;
            self.events.push_back(Event::Withdrawn);
        }
    }

    /// It was not closed.
    pub(super) fn is_listening(&self, server: ServerId) -> bool {
        let target = self.servers.get(server).map(|record| record.target);
        target.is_some_and(|target| self.by_target.get(&target) == Some(&server))
    }

    fn is_stopping(&self, server: ServerId) -> bool {
        self.servers.get(server).is_some_and(|record| record.announcer.is_stopping())
    }

    /// Closes every socket of the pool, whatever is on it.
    pub fn close_sockets(&mut self) {
        let sockets: Vec<SocketId> = self.sockets.keys().copied().collect();
        for socket in sockets {
            self.timers.clear(Timer::Socket(socket));
            self.close_socket(socket);
        }
    }

    /// Announces a server again, now or as soon as what is under way has ended. hyperdht.55
    pub fn refresh(&mut self, cx: &mut Cx<'_>, server: ServerId) -> Result<(), crate::Error> {
        if !self.is_listening(server) {
            return Err(crate::Error::Gone);
        }
        self.refresh_announcement(cx, server);
        Ok(())
    }
}
