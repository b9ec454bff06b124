"""What can happen to keys. Each public function with a declaration is one operation; only these open envelopes."""
