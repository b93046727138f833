package wire

import (
	"crypto/sha256"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// GenesisKind says what ties a group's id to its genesis.
type GenesisKind uint8

const (
	// GenesisDerived: the id is the hash of the genesis.
	GenesisDerived GenesisKind = iota
	// GenesisCertified: the id is a public key, which signed the genesis. A context's own group is such.
	GenesisCertified
	// GenesisVouched: nothing. Whoever delivers it must be trusted by other means.
	GenesisVouched
	genesisKinds
)

const (
	groupGenesisVersion = 1
	groupGenesisDomain  = "calimero.group.genesis.v1"
)

// GroupGenesis is the beginning of a group, an extension of ours (docs/design/governance.md): who created it, and with
// what settings. The reference has no such record; its nodes learn of groups by invitations.
type GroupGenesis struct {
	Kind             GenesisKind
	Group            domain.GroupID
	Creator          domain.PublicKey
	AppKey           domain.Hash
	Target           domain.ApplicationID
	Policy           domain.UpgradePolicy
	CreatedAt        uint64 // Unix seconds
	AutoJoin         bool
	Parent           *domain.GroupID
	Alias            *string
	Salt             [32]byte
	CreatorSignature domain.Signature
	IDSignature      *domain.Signature // of GenesisCertified
}

// EncodeBorsh writes the genesis.
func (g GroupGenesis) EncodeBorsh(e *borsh.Encoder) {
	e.U8(groupGenesisVersion)
	e.U8(uint8(g.Kind))
	e.Raw(g.Group[:])
	g.body(e)
	e.Raw(g.CreatorSignature[:])
	borsh.PutOption(e, g.IDSignature, func(e *borsh.Encoder, s domain.Signature) { e.Raw(s[:]) })
}

func (g GroupGenesis) body(e *borsh.Encoder) {
	e.Raw(g.Creator[:])
	e.Raw(g.AppKey[:])
	e.Raw(g.Target[:])
	PutUpgradePolicy(e, g.Policy)
	e.U64(g.CreatedAt)
	e.Bool(g.AutoJoin)
	borsh.PutOption(e, g.Parent, borsh.PutArray32[domain.GroupID])
	borsh.PutOption(e, g.Alias, (*borsh.Encoder).String)
	e.Raw(g.Salt[:])
}

// DecodeBorsh reads the genesis. Nothing is verified.
func (g *GroupGenesis) DecodeBorsh(d *borsh.Decoder) {
	if v := d.U8("version"); v != groupGenesisVersion {
		d.Fail("version", errkind.Unsupported.Errorf("version %d of a group genesis, this node knows %d", v, groupGenesisVersion))
		return
	}
	*g = GroupGenesis{
		Kind: GenesisKind(d.Tag("kind", uint8(genesisKinds))), Group: d.Array32("group_id"), Creator: d.Array32("creator"),
		AppKey: d.Array32("app_key"), Target: d.Array32("target_application_id"),
		Policy: ReadUpgradePolicy(d, "upgrade_policy"), CreatedAt: d.U64("created_at"), AutoJoin: d.Bool("auto_join"),
		Parent: borsh.OptArray32[domain.GroupID](d, "parent"),
		Alias:  borsh.Option(d, "alias", (*borsh.Decoder).String),
		Salt:   d.Array32("salt"),
	}
	d.Raw("creator_signature", g.CreatorSignature[:])
	g.IDSignature = borsh.Option(d, "id_signature", readSignature)
}

// DerivedID is the id of a group of kind GenesisDerived.
func (g GroupGenesis) DerivedID() (domain.GroupID, error) {
	e := borsh.NewEncoder([]byte(groupGenesisDomain))
	e.U8(groupGenesisVersion)
	e.U8(uint8(GenesisDerived))
	g.body(e)
	raw, err := e.Finish()
	return sha256.Sum256(raw), err
}

// SigningBytes are what creator and id sign.
func (g GroupGenesis) SigningBytes() ([]byte, error) {
	e := borsh.NewEncoder([]byte(groupGenesisDomain))
	e.U8(groupGenesisVersion)
	e.U8(uint8(g.Kind))
	e.Raw(g.Group[:])
	g.body(e)
	return e.Finish()
}

// Hash names a genesis: two are the same when they say the same, whatever their signatures.
func (g GroupGenesis) Hash() (domain.Hash, error) {
	message, err := g.SigningBytes()
	return sha256.Sum256(message), err
}

// Sign signs the genesis as its creator; id is the secret behind the id of a certified one, else nil.
func (g GroupGenesis) Sign(creator domain.PrivateKey, id *domain.PrivateKey) (GroupGenesis, error) {
	if g.Kind == GenesisDerived {
		derived, err := g.DerivedID()
		if err != nil {
			return GroupGenesis{}, err
		}
		g.Group = derived
	}
	message, err := g.SigningBytes()
	if err != nil {
		return GroupGenesis{}, err
	}
	g.CreatorSignature = creator.Sign(message)
	if id != nil {
		signature := id.Sign(message)
		g.IDSignature = &signature
	}
	return g, g.Verify()
}

// Verify checks the signatures and what ties the id to the genesis.
func (g GroupGenesis) Verify() error {
	message, err := g.SigningBytes()
	if err != nil {
		return err
	}
	if !g.Creator.Verify(message, g.CreatorSignature) {
		return errkind.Invalid.Errorf("genesis of group %s: the creator's signature is wrong", g.Group)
	}
	switch g.Kind {
	case GenesisDerived:
		if id, err := g.DerivedID(); err != nil || id != g.Group {
			return errkind.Invalid.Errorf("genesis of group %s: it belongs to group %s", g.Group, id)
		}
	case GenesisCertified:
		if g.IDSignature == nil || !domain.PublicKey(g.Group).Verify(message, *g.IDSignature) {
			return errkind.Invalid.Errorf("genesis of group %s: not signed by the group's id", g.Group)
		}
	case GenesisVouched:
	default:
		return errkind.Invalid.Errorf("genesis of group %s: unknown kind %d", g.Group, g.Kind)
	}
	return nil
}
