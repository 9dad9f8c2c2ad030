package calltoken

// Sign signs any payload, as nobody else may: for tokens that Mint refuses to make.
func (k *Keys) Sign(typ string, payload []byte) (string, error) {
	token, err := k.current().sign(typ, payload)
	return token.Reveal(), err
}
