//go:build !linux

package serve

func waitForParent(parent int) { pollParent(parent) }
