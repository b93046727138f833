package network

import "context"

// Event is what the network tells the node: MessageReceived, PeerConnected, PeerDisconnected, PeerSubscribed,
// PeerUnsubscribed or Listening. Events are hints, not a log: when the reader lags, new ones are dropped and counted.
type Event interface{ event() }

// MessageReceived is a gossip message of a topic this node is subscribed to. It passed the validator and has been
// forwarded. Own messages are no events.
type MessageReceived struct{ Message }

// PeerConnected says that the first connection to a peer is there.
type PeerConnected struct{ Peer PeerID }

// PeerDisconnected says that the last connection to a peer is gone.
type PeerDisconnected struct{ Peer PeerID }

// PeerSubscribed says that a peer is in a topic that this node is subscribed to. It comes also for peers that were in it before
// this node.
type PeerSubscribed struct {
	Peer  PeerID
	Topic string
}

// PeerUnsubscribed says that a peer left a topic that this node is subscribed to, or is gone.
type PeerUnsubscribed struct {
	Peer  PeerID
	Topic string
}

// Listening says that the node listens on an address, with its port.
type Listening struct{ Address string }

func (MessageReceived) event()  {}
func (PeerConnected) event()    {}
func (PeerDisconnected) event() {}
func (PeerSubscribed) event()   {}
func (PeerUnsubscribed) event() {}
func (Listening) event()        {}

// Message is a gossip message.
type Message struct {
	Topic string
	// Source signed the message, Forwarder gave it to this node.
	Source, Forwarder PeerID
	// Data must not be changed.
	Data []byte
	// Value is what the validator left here, so that nothing is decoded twice.
	Value any
}

// Verdict is what a validator says of a message.
type Verdict int

const (
	// Accept hands the message to the node and forwards it.
	Accept Verdict = iota
	// Ignore drops the message and blames nobody: it may be right and not for this node to judge.
	Ignore
	// Reject drops the message and counts it against the peer that made it.
	Reject
)

// Validator judges the messages of other nodes before they are forwarded: do they decode, belong to their topic, come
// from a member. It is called from many goroutines, must not block for long, and is stopped by ctx.
type Validator func(ctx context.Context, m *Message) Verdict
