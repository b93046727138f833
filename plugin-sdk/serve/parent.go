package serve

import (
	"os"
	"time"
)

// pollParent returns when the parent process is not parent any more, two seconds late at most.
func pollParent(parent int) {
	for os.Getppid() == parent {
		time.Sleep(2 * time.Second)
	}
}
