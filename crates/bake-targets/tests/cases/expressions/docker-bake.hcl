variable "L" {
  default = ["a", "b", "c"]
}
variable "O" {
  default = { k = "v", n = { m = [1, 2] } }
}
target "default" {
  args = {
    for1 = join(",", [for x in L : upper(x)])
    for2 = join(",", [for i, x in L : "${i}${x}" if x != "b"])
    for3 = jsonencode({for k, v in { a = 1, b = 2 } : v => k})
    for4 = jsonencode({for x in ["a", "b", "ab"] : substr(x, 0, 1) => x...})
    splat = jsonencode([{ n = 1 }, { n = 2 }][*].n)
    splat2 = jsonencode([{ n = 1 }].*.n)
    splat3 = jsonencode(null[*])
    splat4 = jsonencode("x"[*])
    idx = L[1]
    idx2 = O.n.m[0]
    idx3 = O["k"]
    cond = length(L) > 2 && !false || false ? "y" : "n"
    cmp = 1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2 && "a" == "a"
    eq = [1, 2] == [1, 2]
    eq2 = "1" == 1
    mixed = true ? 1 : "x"
    tmpl = "%{ if true }yes%{ else }no%{ endif } %{ for x in L ~}  [${x}]  %{~ endfor }"
    tmpl2 = <<EOT
%{ for x in L ~}
  - ${x}
%{ endfor ~}
end
EOT
    strip = "a ${~ "b" ~} c"
    esc = "$${not} %%{not} \"q\" \n \u00e9 \t"
    here = <<EOT
line ${L[0]}
  two
EOT
    here2 = <<-EOT
      dedent
        more
      EOT
    paren = (1 + 2) * 3
    unary = !true
    single = "${L[2]}"
    obj = jsonencode({ a = 1, "b" = "x", (L[0] == "a" ? "c" : "d") = [], null = null })
    quoted-key = "dash"
  }
}
