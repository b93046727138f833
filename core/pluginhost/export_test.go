package pluginhost

// FirstShort is firstShort.
var FirstShort = firstShort
