//! Commands that are the programs' own.

use super::super::*;
use super::pitfalls::SHORT;
use super::stories::nodes;
use super::world::*;
use crate::base::Error;
use crate::wire::dht_rpc::UNKNOWN_COMMAND;

/// Five persistent nodes and a client.
fn network() -> (World, usize) {
    let mut world = World::new(1);
    nodes(&mut world, 5);
    let client = world.host(Shape::Consistent);
    world.settle_nodes();
    (world, client)
}

fn echo() -> Plugin {
    Plugin::new("echo", 2)
}

/// What a question was answered, and whether by anybody, once it has ended.
fn answers(world: &mut World, client: usize, wanted: LookupId) -> (Vec<Reply>, bool) {
    // Four seconds pass before silence is one.
    let ok = world.wait(client, Span::from_secs(5), |event| match event {
        Event::LookupDone { lookup, ok } if *lookup == wanted => Some(*ok),
        _ => None,
    });
    let events = std::mem::take(&mut world.hosts[client].events);
    let replies = events.into_iter().filter_map(|event| match event {
        Event::Reply { lookup, reply } if lookup == wanted => Some(*reply),
        _ => None,
    });
    (replies.collect(), ok)
}

fn ask(world: &mut World, client: usize, ask: Ask) -> (Vec<Reply>, bool) {
    let asked = world.with(client, |dht, cx| dht.ask_node(cx, ask)).expect("short");
    answers(world, client, asked)
}

/// Until the client's question has ended, `node` answers what its plugin is asked.
fn serve(world: &mut World, node: usize) -> (u64, Option<Vec<u8>>) {
    let (request, command, value) = world.wait(node, SHORT, |event| match event {
        Event::PluginRequest { request, plugin, command, value } if plugin == "echo" => {
            Some((request.clone(), *command, value.clone()))
        }
        _ => None,
    });
    let respond = Respond::value(value.clone());
    world.with(node, |dht, cx| dht.answer(cx, *request, respond));
    (command, value)
}

// proves hyperdht.151, hyperdht.152
#[test]
fn a_plugin_is_asked_and_answers() {
    let (mut world, client) = network();
    let node = world.server_addr(1);
    let question = echo().ask(node, 7, Some(b"hello".to_vec()));
    assert_eq!(ask(&mut world, client, question.clone()), (vec![], false), "nobody has it");
    world.hosts[1].dht.register(echo()).expect("room");
    let asked = world.with(client, |dht, cx| dht.ask_node(cx, question.clone())).expect("short");
    assert_eq!(serve(&mut world, 1), (7, Some(b"hello".to_vec())));
    let (replies, ok) = answers(&mut world, client, asked);
    assert!(ok);
    let said: Vec<_> = replies.iter().map(|reply| (reply.from, reply.value.as_deref())).collect();
    assert_eq!(said, [(node, Some(&b"hello"[..]))]);

    let other = Plugin::new("echo", 3).ask(node, 7, None);
    assert_eq!(ask(&mut world, client, other), (vec![], false), "another version");
    let torn = Ask { value: Some(vec![9, 1]), ..question.clone() };
    assert_eq!(ask(&mut world, client, torn), (vec![], false), "cannot be read");
    assert!(world.hosts[1].dht.stats().malformed > 0);
    world.hosts[1].dht.unregister("echo");
    assert_eq!(ask(&mut world, client, question), (vec![], false));
}

// proves hyperdht.151
#[test]
fn a_node_that_is_not_persistent_has_no_plugins() {
    let (mut world, client) = network();
    let idle = world.host(Shape::Open);
    world.hosts[idle].dht.register(echo()).expect("room");
    let to = world.server_addr(idle);
    let (replies, _) = ask(&mut world, client, echo().ask(to, 7, None));
    assert_eq!(replies.iter().map(|reply| reply.error).collect::<Vec<_>>(), [UNKNOWN_COMMAND]);
}

// proves hyperdht.151
#[test]
fn plugins_are_as_many_as_the_bound_allows() {
    let (mut world, client) = network();
    let dht = &mut world.hosts[client].dht;
    for n in 0..limits::HYPERDHT_PLUGINS {
        dht.register(Plugin::new(&n.to_string(), 1)).expect("room");
    }
    assert_eq!(dht.register(echo()), Err(Error::Full));
    assert_eq!(dht.register(Plugin::new("7", 2)), Ok(()), "in the place of another version");
    dht.unregister("7");
    assert_eq!(dht.register(echo()), Ok(()));
}

// proves hyperdht.152, hyperdht.153
#[test]
fn commands_of_programs_are_asked_on_the_way_and_answered_by_those_who_take_them() {
    let (mut world, client) = network();
    let query = Query::new([3; 32], 11, Some(vec![5]));
    let asked = world.with(client, |dht, cx| dht.ask_all(cx, query.clone())).expect("short");
    let (replies, ok) = answers(&mut world, client, asked);
    assert!(ok && replies.len() == 5);
    assert!(replies.iter().all(|reply| reply.error == UNKNOWN_COMMAND && reply.value.is_none()));

    world.hosts[2].dht.take_requests(true);
    let asked = world.with(client, |dht, cx| dht.ask_all(cx, query)).expect("short");
    let request = world.wait(2, SHORT, |event| match event {
        Event::Request(request) => Some(request.clone()),
        _ => None,
    });
    assert_eq!((request.command, request.target, request.value.clone()), (11, Some([3; 32]), Some(vec![5])));
    world.with(2, |dht, cx| dht.answer(cx, *request, Respond::value(Some(vec![6]))));
    let (replies, _) = answers(&mut world, client, asked);
    let given: Vec<_> = replies.iter().filter(|reply| reply.value == Some(vec![6])).collect();
    assert_eq!((replies.len(), given.len()), (5, 1));
    assert!(given[0].token.is_some(), "for what may be written there next");
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let (mut world, client) = network();
    let to = world.server_addr(0);
    let long = Ask { value: Some(vec![0; limits::DHT_VALUE_MAX + 1]), ..Ask::new(to, 11) };
    let elsewhere = Ask { socket: Some(SocketId::FIRST_POOLED), ..Ask::new(to, 11) };
    for ask in [long, elsewhere] {
        assert!(matches!(world.with(client, |dht, cx| dht.ask_node(cx, ask)), Err(Error::Invalid(_))));
    }
}
