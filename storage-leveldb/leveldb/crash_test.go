package leveldb_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

const (
	envDir     = "LEVELDB_TEST_DIR"
	envRound   = "LEVELDB_TEST_ROUND"
	writers    = 4
	batchRows  = 8
	crashBytes = 3000
)

// A small write buffer, so that kills also meet journals being replaced and tables being written.
var crashAttrs = attrs{"write_buffer_mib": cty.NumberIntVal(1)}

// writer is a child process that commits in a loop until it is killed, and prints what was acknowledged.
func writer() {
	if err := write(os.Getenv(envDir), os.Getenv(envRound), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(dir, round string, out io.Writer) error {
	ctx := context.Background()
	p := leveldb.New()
	schema, err := p.Schema(ctx)
	if err != nil {
		return err
	}
	d, err := p.Configure(ctx, base.Config{Value: storagetest.Value(schema, crashAttrs), DataDir: dir})
	if err != nil || d.HasErrors() {
		return fmt.Errorf("configure: %w, %v", err, d)
	}
	failed := make(chan error)
	var mu sync.Mutex
	for w := range writers {
		go func() {
			for i := 0; ; i++ {
				if _, err := p.Apply(ctx, crashBatch(round, w, i)); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				_, err := fmt.Fprintf(out, "%d %d\n", w, i)
				mu.Unlock()
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// crashBatch replaces all rows of its writer and round: the number of rows and their values tell whether it is whole.
func crashBatch(round string, w, i int) storage.Batch {
	var b storage.Batch
	copy(b.ID[:], fmt.Sprintf("%s/%d/%d", round, w, i))
	prefix := fmt.Sprintf("%s/%d/", round, w)
	if i%5 == 4 {
		b.DeletePrefix("c", []byte(prefix))
	}
	for r := range batchRows {
		v := bytes.Repeat([]byte{byte(i)}, crashBytes*((i+r)%3)/2)
		b.Put("c", fmt.Appendf(nil, "%s%d", prefix, r), fmt.Appendf(v, "/%d", i))
	}
	return b
}

func TestKillInTheMiddleOfCommits(t *testing.T) {
	t.Parallel()
	const rounds = 50
	dir := t.TempDir()
	acknowledged := make([][writers]int, rounds)
	total, torn := 0, 0
	for round := range rounds {
		acknowledged[round] = runAndKill(t, dir, round)
		p := open(t, dir, crashAttrs)
		if engine(t, p)["torn_bytes_cut"] != "0" {
			torn++
		}
		got := rows(t, p)
		for past := range round + 1 {
			for w, last := range acknowledged[past] {
				found := wholeBatch(t, got, past, w)
				require.GreaterOrEqual(t, found, last, "round %d: an acknowledged batch of writer %d of round %d is lost", round, w, past)
				require.LessOrEqual(t, found, last+1)
				acknowledged[past][w] = found
				if past < round || found < 0 {
					continue
				}
				total += found + 1
				replayed, err := p.Apply(context.Background(), crashBatch(fmt.Sprint(past), w, found))
				require.NoError(t, err)
				require.True(t, replayed, "the id of an applied batch is lost")
			}
		}
		shut(t, p)
	}
	t.Logf("%d batches in %d rounds, %d with a torn end", total, rounds, torn)
	require.Greater(t, total, rounds, "the writers were killed before they wrote")
}

// wholeBatch is the number of the batch whose rows are there, all of them and no other's; -1 = none.
func wholeBatch(t *testing.T, got map[string]string, round, w int) int {
	t.Helper()
	number := func(r int) int {
		v, ok := got[fmt.Sprintf("%d/%d/%d", round, w, r)]
		if !ok {
			return -1
		}
		n := -1
		_, err := fmt.Sscanf(v[strings.LastIndexByte(v, '/'):], "/%d", &n)
		require.NoError(t, err)
		return n
	}
	n := number(0)
	for r := range batchRows {
		require.Equal(t, n, number(r), "rows of two batches of writer %d of round %d", w, round)
	}
	return n
}

// runAndKill lets the writers commit for a moment and returns the last acknowledged batch of each; -1 = none.
func runAndKill(t *testing.T, dir string, round int) (last [writers]int) {
	t.Helper()
	for w := range last {
		last[w] = -1
	}
	cmd := sdktest.Reexec("writer")(t)
	cmd.Env = append(cmd.Env, envDir+"="+dir, fmt.Sprintf("%s=%d", envRound, round), "PATH="+os.Getenv("PATH"))
	cmd.Stderr = io.Discard
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		var w, i int
		_, err := fmt.Sscanf(lines.Text(), "%d %d", &w, &i)
		require.NoError(t, err)
		last[w] = i
		if timer == nil {
			timer = time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
	}
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.NotNil(t, timer, "the writer died by itself")
	require.Equal(t, -1, exit.ExitCode(), "the writer was not killed")
	return last
}
