"""What can happen to tenants, people and consumers. Each public function is one declared operation."""
