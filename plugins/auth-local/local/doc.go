// Package local is an auth plugin that needs nothing but its own folder: user names with passwords (argon2id), JWT
// access and refresh tokens (HS256), root and client keys with permissions.
//
// Files in the data folder, all with mode 0600:
//
//	keys.json       root and client keys, with a checksum; replaced as a whole on every change
//	secret.json     the secrets that sign tokens and challenges
//	bootstrap-code  optional, written by whoever sets the node up: the one-time code for the first account; removed
//	                once that exists
//
// A key's id is random. (The reference's is the unsalted SHA-256 of user name and password, and stands in every token:
// whoever sees a token can guess the password at leisure.)
package local
