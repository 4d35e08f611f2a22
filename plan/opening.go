package plan

// opens says what a road lets through beside what the file asks for; "" for nothing.
func (*healer) opens(road) (string, error) { return "", nil }
