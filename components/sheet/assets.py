"""Style and script of the sheet of samples. The script is constant and the page allows no other one."""

import base64
import hashlib

STYLE = """
:root{--ink:#1d2733;--soft:#5c6773;--line:#dde3ea;--paper:#fff;--back:#f4f6f9;--good:#2b8a3e;--bad:#c92a2a;--blue:#2a6fdb}
body{max-width:110rem;background:var(--back);color:var(--ink)}
h1{margin-bottom:.2rem}.lead{color:var(--soft);margin-top:0}
form{position:sticky;top:0;z-index:2;display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;padding:.6rem .8rem;
margin:0 -.2rem 1rem;background:#fffffff2;border:1px solid var(--line);border-radius:.7rem;box-shadow:0 2px 8px #0001}
select,input,button{font:inherit;padding:.25rem .5rem;border:1px solid var(--line);border-radius:.4rem;background:#fff;
max-width:15rem}
input{flex:1 1 12rem}button{cursor:pointer}
#count{color:var(--soft);font-variant-numeric:tabular-nums;white-space:nowrap}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(27rem,1fr));gap:.9rem;align-items:start}
@media(max-width:36rem){main{grid-template-columns:1fr}}
article{background:var(--paper);border:1px solid var(--line);border-radius:.7rem;overflow:hidden;
content-visibility:auto;
contain-intrinsic-size:auto 20rem}
article[hidden]{display:none}
header{display:flex;flex-wrap:wrap;gap:.3rem;padding:.5rem .7rem;border-bottom:1px solid var(--line);font-size:.78rem}
.chip{padding:.05rem .5rem;border-radius:1rem;background:var(--back);border:1px solid var(--line);max-width:22rem;
overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.train{background:#e7f0fd;border-color:#b9d3f8}.validation{background:#fff3df;border-color:#fbd79b}
.test{background:#e6f5e9;border-color:#b6dfbe}.reason{background:#fdeaea;border-color:#f3bcbc;color:var(--bad);font-weight:600}
.sides{display:grid;grid-template-columns:1fr 1fr;gap:0}
.side{padding:.6rem .7rem;min-width:0}.side+.side{border-left:1px solid var(--line)}
.side h3{margin:0 0 .35rem;font-size:.72rem;letter-spacing:.04em;text-transform:uppercase;color:var(--soft)}
.positive>h3{color:var(--good)}.negative>h3{color:var(--bad)}
.content{padding:.15rem 0 .35rem;border-top:1px dashed var(--line)}.content:first-of-type{border-top:0}
.content p{margin:.15rem 0;overflow-wrap:anywhere;white-space:pre-wrap;max-height:9.5rem;overflow:auto;
unicode-bidi:plaintext}
.negatives{grid-column:1/-1;border-left:0!important;border-top:1px solid var(--line);background:#fdf6f6}
.negatives .row{display:flex;flex-wrap:wrap;gap:.8rem}
figure{margin:.15rem 0}figcaption{color:var(--soft);font-size:.74rem}
img.picture{max-width:168px;max-height:168px;border-radius:.4rem;
background:repeating-conic-gradient(#eef1f5 0 25%,#fff 0 50%) 0 0/16px 16px}
img.strip{width:100%;max-width:33rem;border-radius:.4rem;display:block}img.moving,video{max-width:168px;border-radius:.4rem}
audio{width:100%;height:2rem;display:block}.wave{width:100%;height:2rem;display:block}
.wave path{stroke:var(--blue);stroke-width:2;fill:none}
.unseen{padding:.5rem .7rem;border:1px dashed var(--bad);border-radius:.4rem;color:var(--bad);font-size:.8rem;
overflow-wrap:anywhere}.unseen small{display:block;color:var(--soft)}
.message{padding:.4rem .7rem;color:var(--bad);font-size:.85rem;overflow-wrap:anywhere}
pre{margin:0;padding:.6rem .7rem;white-space:pre-wrap;overflow-wrap:anywhere;max-height:16rem;overflow:auto;
font-size:.8rem}
footer{padding:.3rem .7rem;border-top:1px solid var(--line);color:var(--soft);font-size:.72rem;overflow-wrap:anywhere}
"""

SCRIPT = """
const form=document.querySelector("form"),cards=[...document.querySelectorAll("article")];
const count=document.getElementById("count"),names=[...form.querySelectorAll("select")].map(s=>s.name);
const words=new Map(cards.map(c=>[c,c.textContent.toLowerCase()]));
function apply(){
  const wanted=names.map(n=>[n,form.elements[n].value]).filter(p=>p[1]);
  const text=form.elements.words.value.trim().toLowerCase();
  let shown=0;
  for(const card of cards){
    const chosen=wanted.every(([n,v])=>(" "+card.dataset[n]+" ").includes(" "+v+" "));
    const fits=chosen&&(!text||words.get(card).includes(text));
    card.hidden=!fits;shown+=fits;
  }
  count.textContent=shown+" of "+cards.length;
  const kept=new URLSearchParams([...wanted,...(text?[["words",text]]:[])]).toString();
  history.replaceState(null,"",kept?"#"+kept:location.pathname);
}
for(const [n,v] of new URLSearchParams(location.hash.slice(1)))if(n in form.elements)form.elements[n].value=v;
form.addEventListener("input",apply);
form.addEventListener("reset",()=>setTimeout(apply));
form.addEventListener("submit",e=>e.preventDefault());
document.addEventListener("play",e=>{
  for(const other of document.querySelectorAll("audio,video"))if(other!==e.target)other.pause();
},true);
apply();
"""


def policy() -> str:
    """A content security policy as a ``meta`` tag: nothing is fetched, and no script runs but ours."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    rules = (
        "default-src 'none'",
        "img-src data:",
        "media-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'
