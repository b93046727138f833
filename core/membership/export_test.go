package membership

import "time"

// Sweep forgets groups that nobody follows, and counts those that are left.
func (m *Manager) Sweep(now time.Time) int {
	for _, g := range m.all() {
		m.forgets(g, now)
	}
	return len(m.all())
}
