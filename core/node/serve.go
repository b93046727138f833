package node

import "context"

func (n *Node) serve(ctx context.Context, started func()) error {
	started()
	<-ctx.Done()
	return nil
}
